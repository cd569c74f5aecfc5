"""jobs/generate_walks.py: both strategies, any partitioning, the files as training reads them."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from test_walks import adjacency, oracle

from vasg import schemas
from vasg.warehouse.tables import Warehouse

U, W = 30, 25
LENGTH, REPEATS, SEED = 10, 3, 5  # longer than the partitioned strategy goes between two writes of its state
SETTINGS = (f"walks.walk_length={LENGTH}", f"walks.walks_per_node={REPEATS}", f"seed={SEED}", "walks.lanes=2")
RunJob = Callable[..., int]


def pairs() -> list[tuple[int, int]]:
    """User 3 has no train pair, product U is in all baskets, user 0 has every product, many nodes have degree 1."""
    found = {(user, U) for user in range(U) if user != 3} | {(0, U + product) for product in range(W)}
    found |= {(user, U + 1 + (7 * user + k) % 5) for user in range(10, U) for k in range(user % 3)}
    return sorted(found)


def publish(root: Path, train: list[tuple[int, int]], rating: Callable[[int, int], float] = lambda u, p: 1.0) -> None:
    """nodes (with one cold product) and interactions (with one test pair) as filter_users leaves them."""
    nodes = {
        "node": list(range(U + W + 1)), "node_type": ["user"] * U + ["product"] * (W + 1),
        "id": [f"n{i}" for i in range(U + W + 1)], "is_cold": [False] * (U + W) + [True],
    }  # fmt: skip
    interactions = {
        "user": [*(u for u, _ in train), 3], "product": [*(p for _, p in train), U + W],
        "rating": [*(rating(u, p) for u, p in train), 1.0], "split": ["train"] * len(train) + ["test_cold"],
    }  # fmt: skip
    with Warehouse(root).publication("filter_users", "run", "") as publication:
        for name, content in (("nodes", nodes), ("interactions", interactions)):
            publication.write_arrow(name, pa.table(content, schemas.TABLES[name].arrow()))
        publication.commit("fingerprint", {})


def read(root: Path) -> dict[int, list[int]]:
    """Walks by walk_id; none occurs twice."""
    rows = Warehouse(root).read_arrow("walks")
    walks = dict(zip(rows["walk_id"].to_pylist(), rows["walk"].to_pylist(), strict=True))
    assert len(walks) == rows.num_rows
    return walks


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("walks") / "config.toml"
    path.write_text("features.source = 'pictures'\n")
    return path


@pytest.mark.fault
@pytest.mark.usefixtures("another_default")
@pytest.mark.parametrize(("transition", "length"), [("uniform", LENGTH), ("rating", 4)])
def test_both_strategies_write_the_same_files(
    spark: SparkSession, run_job: RunJob, config: Path, tmp_path: Path, transition: str, length: int
) -> None:
    root = tmp_path / "run[1]"  # which Spark takes for a pattern
    publish(root, pairs(), lambda user, product: 1.0 + (user + product) % 5)
    digests = []
    for strategy, partitions in (("replicated", "4"), ("partitioned", "1" if transition == "uniform" else "3")):
        spark.conf.set("spark.sql.shuffle.partitions", partitions)
        chosen = (f"walks.strategy={strategy}", f"walks.transition={transition}", f"walks.walk_length={length}")
        assert run_job("generate_walks", config, root, *SETTINGS, *chosen, "walks.row_group_size=10") == 0
        warehouse = Warehouse(root)
        digests.append([(part.path.split("-")[:2], part.sha256) for part in warehouse.parts("walks")])
        assert warehouse.manifest("walks")["facts"] == {
            "walk_length": length, "walks_per_node": REPEATS, "lanes": 2, "nodes": U + W,
            "strategy": strategy, "transition": transition,
        }  # fmt: skip
        assert not list(warehouse.path("walks").rglob("*step*"))
    spark.conf.set("spark.sql.shuffle.partitions", "4")
    assert digests[0] == digests[1]  # not only the same walks: the same bytes
    neighbours, walks = adjacency(pairs()), read(root)
    starts = [node for node in range(U + W) if node != 3]
    assert sorted(walks) == [node * REPEATS + k for node in starts for k in range(REPEATS)]
    for walk_id, walk in walks.items():
        assert len(walk) == length
        assert walk[0] == walk_id // REPEATS
        assert all(after in neighbours[before] for before, after in pairwise(walk))
        if transition == "uniform":
            assert walk == oracle(neighbours, walk_id, REPEATS, length, SEED)


def test_lanes_and_row_groups_change_the_files_but_not_the_walks(run_job: RunJob, config: Path, tmp_path: Path) -> None:
    publish(tmp_path, pairs())
    seen = []
    for lanes, size in ((1, 16_384), (3, 4), (4, 1)):
        overrides = (*SETTINGS, f"walks.lanes={lanes}", f"walks.row_group_size={size}")
        assert run_job("generate_walks", config, tmp_path, *overrides) == 0
        seen.append(read(tmp_path))
        assert seen[-1] == seen[0]
        by_type: dict[str, list[list[int]]] = {}
        warehouse = Warehouse(tmp_path)
        for path in warehouse.files("walks"):
            metadata = pq.read_metadata(path)
            sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
            by_type.setdefault(path.parent.name, []).append(sizes)
        assert set(by_type) == {"start_type=user", "start_type=product"}
        for files in by_type.values():
            flat = [rows for sizes in files for rows in sizes]
            assert max(flat) - min(flat) <= 1
            assert len(files) % lanes == 0
            for group in range(0, len(files), lanes):  # a group of files has one file a lane, all of the same length
                assert len({len(sizes) for sizes in files[group : group + lanes]}) == 1
    assert run_job("generate_walks", config, tmp_path, *SETTINGS, "seed=6") == 0
    assert read(tmp_path) != seen[0]


def test_spark_reads_the_table_with_its_start_types(
    spark: SparkSession, run_job: RunJob, config: Path, tmp_path: Path
) -> None:
    publish(tmp_path, pairs())
    assert run_job("generate_walks", config, tmp_path, *SETTINGS) == 0
    rows = Warehouse(tmp_path).read(spark, "walks").toPandas()
    kind = np.where(rows["walk"].str[0] < U, "user", "product")
    assert (rows["start_type"] == kind).all()
    assert (rows["start_type"] == "user").sum() == (U - 1) * REPEATS


def test_auto_chooses_by_the_size_of_the_graph(run_job: RunJob, config: Path, tmp_path: Path) -> None:
    publish(tmp_path, [(user, U + user % W) for user in range(U)])
    chosen = []
    for limit in ("20", "1e-9"):
        overrides = (*SETTINGS, "walks.walk_length=2", f"walks.replicated_limit_gib={limit}")
        assert run_job("generate_walks", config, tmp_path, *overrides) == 0
        chosen.append(Warehouse(tmp_path).manifest("walks")["facts"]["strategy"])
    assert chosen == ["replicated", "partitioned"]
    counts = Warehouse(tmp_path).catalog()["stages"]["generate_walks"]["counts"]
    assert "replicated_limit_gib is 1e-09" in counts["strategy"]
    assert counts["train_pairs"] == U
    assert json.dumps(counts)


@pytest.mark.parametrize(
    ("train", "overrides", "message"),
    [
        ([], (), "no pair has the split train"),
        ([(0, U)], ("walks.transition=rating",), "rating 0.0 of user 0"),
        ([(0, U)], ("walks.walks_per_node=1", "walks.lanes=2"), "fewer than walks.lanes = 2"),
    ],
)
def test_what_is_refused(
    run_job: RunJob, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    train: list[tuple[int, int]], overrides: tuple[str, ...], message: str,
) -> None:  # fmt: skip
    publish(tmp_path, train, lambda user, product: 0.0)
    assert run_job("generate_walks", config, tmp_path, *SETTINGS, *overrides) == 65
    assert message in capsys.readouterr().err
    assert not Warehouse(tmp_path).has("walks")
    assert not list((tmp_path / "tables").rglob("start_type=*"))
