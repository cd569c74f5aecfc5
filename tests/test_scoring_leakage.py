"""The leakage gate: whatever lets test data reach the model stops the stage score with code 65 and one line."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from scoring_shop import Shop, publish, shop, tables
from test_scoring_job import CONFIG, Run, run_score

from vasg.pipeline.runner import HOME, environment
from vasg.warehouse.tables import Warehouse


@pytest.fixture(scope="module")
def given() -> Shop:
    """User 29 has no train pair."""
    return shop(8, users=30, warm=25, cold=7, dim=4, most=14)


def _replace_pairs(content: dict[str, pa.Table], pairs: list[dict[str, object]]) -> None:
    content["interactions"] = pa.Table.from_pylist(pairs, content["interactions"].schema)


def _also_in_train(content: dict[str, pa.Table]) -> None:
    pairs = content["interactions"].to_pylist()
    leaked = next(p for p in pairs if p["split"] == "test_warm")
    _replace_pairs(content, [*pairs, leaked | {"split": "train"}])


def _cold_in_train(content: dict[str, pa.Table]) -> None:
    pairs = content["interactions"].to_pylist()
    held = [p for p in pairs if p["split"] == "test_cold"]
    twice = next(p for p in held if sum(q["product"] == p["product"] for q in held) > 1)
    twice["split"] = "train"
    _replace_pairs(content, pairs)


def _warm_without_train(content: dict[str, pa.Table]) -> None:
    pairs = content["interactions"].to_pylist()
    product = next(p["product"] for p in pairs if p["split"] == "test_warm")
    kept = [p for p in pairs if p["product"] != product or p["split"] != "train"]
    _replace_pairs(content, kept)


def _bad_flag(content: dict[str, pa.Table]) -> None:
    pairs = [p for p in content["interactions"].to_pylist() if p["product"] != 31]
    _replace_pairs(content, pairs)


def _cold_trained(content: dict[str, pa.Table]) -> None:
    content["embeddings"] = pa.Table.from_pylist(
        [r | {"origin": "trained"} for r in content["embeddings"].to_pylist()], content["embeddings"].schema
    )


def _user_without_purchases_trained(content: dict[str, pa.Table]) -> None:
    more = {"node": 29, "node_type": "user", "origin": "trained", "embedding": [1.0, 2.0, 3.0, 4.0]}
    content["embeddings"] = pa.Table.from_pylist(
        [*content["embeddings"].to_pylist(), more], content["embeddings"].schema
    )


def _walk_over_a_test_pair(content: dict[str, pa.Table]) -> None:
    walks, pairs = content["walks"].to_pylist(), content["interactions"].to_pylist()
    leaked = next(p for p in pairs if p["split"] == "test_warm")
    at = next(w["walk"] for w in walks if w["walk"][4] == leaked["user"])
    at[5] = leaked["product"]
    content["walks"] = pa.Table.from_pylist(walks, content["walks"].schema)


def _walk_to_a_cold_product(content: dict[str, pa.Table]) -> None:
    walks = content["walks"].to_pylist()
    walks[7]["walk"][3] = 61
    content["walks"] = pa.Table.from_pylist(walks, content["walks"].schema)


def _out_of_range(content: dict[str, pa.Table]) -> None:
    pairs = content["interactions"].to_pylist()
    pairs[5]["product"] = 2  # a user
    _replace_pairs(content, pairs)


def _unknown_split(content: dict[str, pa.Table]) -> None:
    pairs = content["interactions"].to_pylist()
    pairs[5]["split"] = "exam"
    _replace_pairs(content, pairs)


def _not_finite(content: dict[str, pa.Table]) -> None:
    table = content["embeddings"].to_pylist()
    table[7]["embedding"][1] = float("nan")
    content["embeddings"] = pa.Table.from_pylist(table, content["embeddings"].schema)


def _vector_twice(content: dict[str, pa.Table]) -> None:
    content["embeddings"] = pa.concat_tables([content["embeddings"], content["embeddings"][:1]])


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (
            _also_in_train,
            r"1 pairs are there more than once, first user u\d+ and product p\d+ in splits test_warm and train",
        ),
        (_cold_in_train, r"1 products are held out as cold, but bought in split train, first product p0"),
        (_warm_without_train, r"1 products are held out as warm, but not bought in split train"),
        (_bad_flag, r"1 products are marked warm, but not bought in split train, first product p001"),
        (_cold_trained, r"products are cold, but their embeddings were trained on purchases, first product p02"),
        (
            _user_without_purchases_trained,
            r"1 users are without a purchase in split train, but their embeddings were trained, first user u29; run train",
        ),
        (
            _walk_over_a_test_pair,
            r"1 of \d+ steps of walks are no pair of split train, the first between nodes \d+ and \d+",
        ),
        (
            _walk_to_a_cold_product,
            r"2 of \d+ steps of walks are no pair of split train, the first between nodes \d+ and 61",
        ),
        (_out_of_range, r"1 pairs are not of a user and a product"),
        (_unknown_split, r"unknown split exam"),
        (_not_finite, r"the vector of node \d+ is not finite"),
        (_vector_twice, r"node \d+ has more than one vector"),
    ],
)
def test_leaks_and_broken_contracts_stop_the_job(
    given: Shop,
    run_job: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[..., None],
    complaint: str,
) -> None:
    content = tables(given)
    damage(content)
    code, warehouse = run_score(run_job, tmp_path, content)
    first = capsys.readouterr().err.splitlines()[0]
    assert code == 65, first
    assert re.search(complaint, first), first
    assert not warehouse.has("recommendations")
    assert not list((tmp_path / "w" / "tables").glob("recommendations/*"))
    assert "score" not in warehouse.catalog()["stages"]


def _other_split(warehouse: Warehouse) -> None:
    """What ``filter_users`` alone, run again with another seed, does: other pairs are held out, the model saw them."""
    pairs = warehouse.read_arrow("interactions").to_pylist()
    bought = Counter(p["product"] for p in pairs if p["split"] == "train")
    held = next(p for p in pairs if p["split"] == "test_warm")
    seen = next(p for p in pairs if p["split"] == "train" and bought[p["product"]] > 1)
    held["split"], seen["split"] = "train", "test_warm"
    with warehouse.publication("filter_users", "r1", "") as publication:
        publication.write_arrow("nodes", warehouse.read_arrow("nodes"))
        publication.write_arrow(
            "interactions", pa.Table.from_pylist(pairs, warehouse.read_arrow("interactions").schema)
        )
        publication.commit("", {"inputs": {}})


def _walked_again(warehouse: Warehouse) -> None:
    _other_split(warehouse)
    current = {name: entry["digest"] for name, entry in warehouse.catalog()["tables"].items()}
    walks = warehouse.read_arrow("walks").slice(0, 0)
    with warehouse.publication("generate_walks", "r1", "") as publication:
        publication.write_arrow("walks", walks)
        publication.commit("", {"inputs": {name: current[name] for name in ("nodes", "interactions")}})


def _of_unknown_origin(warehouse: Warehouse) -> None:
    with warehouse.publication("train", "r1", "") as publication:
        publication.commit("", {})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_other_split, "table walks was made from another version of table interactions .*; run generate_walks again"),
        (_walked_again, "table embeddings was made from another version of table interactions .*; run train again"),
        (_of_unknown_origin, "it is not known what table embeddings was made from; run train again"),
    ],
)
def test_a_model_of_another_split_is_not_scored(
    given: Shop,
    run_job: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Warehouse], None],
    complaint: str,
) -> None:
    warehouse, config = publish(tmp_path / "w", tables(given)), tmp_path / "c.toml"
    change(warehouse)
    config.write_text(CONFIG)
    assert run_job("score", config, warehouse.root) == 65
    assert re.match(f"vasg score: leakage: {complaint}\n", capsys.readouterr().err)
    assert not warehouse.has("metrics")


@pytest.mark.fault
def test_walks_of_another_split_are_not_trained_on(
    given: Shop, run_job: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warehouse, config = publish(tmp_path / "w", tables(given)), tmp_path / "c.toml"
    _other_split(warehouse)
    config.write_text(CONFIG)
    assert run_job("train", config, warehouse.root) == 65
    complaint = (
        "vasg train: table walks was made from another version of table interactions than the one published now; run "
    )
    assert capsys.readouterr().err == f"{complaint}generate_walks again\n"


def _publish_leaked_pair(given: Shop, root: Path) -> Warehouse:
    content = tables(given)
    _also_in_train(content)
    return publish(root, content)


def _publish_then_split_again(given: Shop, root: Path) -> Warehouse:
    warehouse = publish(root, tables(given))
    _other_split(warehouse)
    return warehouse


@pytest.mark.parametrize(
    ("leaky", "complaint"),
    [
        (_publish_leaked_pair, "table interactions: 1 pairs are there more than once"),
        (_publish_then_split_again, "leakage: table walks was made from another version of table interactions"),
    ],
)
def test_a_leaked_test_pair_fails_the_run_as_a_scheduler_sees_it(
    given: Shop, tmp_path: Path, leaky: Callable[[Shop, Path], Warehouse], complaint: str
) -> None:
    warehouse, config = leaky(given, tmp_path / "w"), tmp_path / "c.toml"
    config.write_text(CONFIG)
    command = [sys.executable, "-m", "vasg.cli", "run", "--config", str(config), "--root", str(warehouse.root)]
    answer = subprocess.run(
        [*command, "--from", "score"], env=environment(), cwd=HOME, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 65, answer.stdout + answer.stderr
    assert answer.stderr.startswith(f"vasg score: {complaint}")
    assert len(answer.stderr.splitlines()) == 1
    assert "stopped with code 65" in answer.stdout
    assert not warehouse.has("metrics")
    assert not warehouse.has("recommendations")
