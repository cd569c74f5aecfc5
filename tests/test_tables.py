"""The warehouse: a publication is all or nothing, damage is found, one run at a time, and everybody can read it."""

import contextlib
import datetime
import threading
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damage import empty, flip_a_bit, truncate
from pyspark.sql import SparkSession

from vasg import schemas
from vasg.errors import ConfigurationError, DataError, InputMissing, OutputError, TryLater
from vasg.warehouse.catalog import Catalogs
from vasg.warehouse.publication import MANIFEST, STAGED
from vasg.warehouse.tables import Warehouse


def uncovered(*ids: str) -> pa.Table:
    rows = {"id": list(ids), "node_type": ["user"] * len(ids), "reason": ["no purchase"] * len(ids)}
    return pa.table(rows, schema=schemas.TABLES["uncovered"].arrow())


def publish(warehouse: Warehouse, *ids: str, run_id: str = "run") -> None:
    with warehouse.publication("score", run_id, "seed = 0\n") as publication:
        publication.write_arrow("uncovered", uncovered(*ids))
        publication.commit("mark", {"seconds": 1.0})


def ids(warehouse: Warehouse) -> list[str]:
    return sorted(warehouse.read_arrow("uncovered")["id"].to_pylist())


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# ---- publication ----


def test_nothing_is_visible_before_the_commit_and_all_of_it_after(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    publish(warehouse, "old")
    with warehouse.publication("score", "run2", "") as publication:
        publication.write_arrow("uncovered", uncovered("new", "newer"))
        assert publication.rows == {"uncovered": 2}
        assert ids(warehouse) == ["old"]
        publication.commit("mark2", {"seconds": 2.0})
    assert ids(warehouse) == ["new", "newer"]
    catalog = warehouse.catalog()
    assert catalog["sequence"] == 2
    assert catalog["stages"]["score"] == {"fingerprint": "mark2", "run_id": "run2", "seconds": 2.0}
    assert [p.name for p in sorted((tmp_path / "catalog").iterdir())] == ["00000001.json", "00000002.json"]


def test_the_version_before_stays_for_those_who_read_it(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    publish(warehouse, "old")
    before = warehouse.path("uncovered")
    publish(warehouse, "new")
    assert warehouse.path("uncovered") != before
    assert pd.read_parquet(before)["id"].tolist() == ["old"]


def test_a_failure_inside_removes_everything_the_publication_wrote(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    publish(warehouse, "old")
    before = files_below(tmp_path)
    with contextlib.suppress(RuntimeError), warehouse.publication("score", "run2", "") as publication:
        publication.write_arrow("uncovered", uncovered("new"))
        publication.directory("metrics")
        raise RuntimeError
    assert files_below(tmp_path) == before
    assert ids(warehouse) == ["old"]
    assert len(list((tmp_path / "tables").glob("*/*"))) == 1


def test_a_table_with_wrong_columns_is_refused_and_removed(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    wrong = uncovered("u").append_column("extra", pa.array([1]))
    with (
        pytest.raises(DataError, match="table uncovered: unexpected column extra"),
        warehouse.publication("score", "run", "") as publication,
    ):
        publication.write_arrow("uncovered", wrong)
    with (
        pytest.raises(DataError, match="column reason is missing"),
        warehouse.publication("score", "run", "") as publication,
    ):
        publication.write_arrow("uncovered", uncovered("u").drop(["reason"]))
    with (
        pytest.raises(DataError, match="column id should be string, found int64"),
        warehouse.publication("score", "run", "") as publication,
    ):
        publication.write_arrow("uncovered", uncovered("u").set_column(0, "id", pa.array([1])))
    assert not list((tmp_path / "tables").rglob("*.parquet"))
    assert not warehouse.has("uncovered")


@pytest.mark.parametrize("shape", [(0, 3), (7, 3), (8, 3), (5, 0)])
def test_a_column_of_lists_has_no_array_with_more_numbers_than_arrow_counts(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schemas, "_MOST_NUMBERS", 11)  # three rows of three
    values = np.arange(shape[0] * shape[1]).reshape(shape)
    column = schemas.list_column(values)
    assert column.to_pylist() == values.tolist()
    assert all(len(chunk.values) <= 11 for chunk in column.chunks)
    assert column.num_chunks == (3 if shape[0] > 6 else 1)


def test_an_empty_table_still_has_its_columns(tmp_path: Path, spark: SparkSession) -> None:
    warehouse = Warehouse(tmp_path)
    frame = spark.createDataFrame([], "user_id string, product_id string, rating float, timestamp long")
    with warehouse.publication("preprocess_reviews", "run", "") as publication:
        publication.write("reviews", frame)
        publication.add("uncovered", [])
        publication.commit("mark", {})
    assert warehouse.read(spark, "reviews").columns == ["user_id", "product_id", "rating", "timestamp"]
    assert warehouse.read_arrow("uncovered").num_rows == 0


@pytest.mark.usefixtures("another_default")
@pytest.mark.parametrize("name", ["run[1]", "{a,b}*", "a b%20ü"])
def test_a_root_is_just_that_folder_whatever_its_name(tmp_path: Path, spark: SparkSession, name: str) -> None:
    warehouse = Warehouse(tmp_path / name)
    frame = spark.createDataFrame(
        [("u", "p", 1.0, 0)], "user_id string, product_id string, rating float, timestamp long"
    )
    with warehouse.publication("preprocess_reviews", "run", "") as publication:
        publication.write("reviews", frame)
        publication.commit("fingerprint", {})
    assert [tuple(row) for row in warehouse.read(spark, "reviews").collect()] == [("u", "p", 1.0, 0)]


@pytest.mark.fault
def test_what_executors_wrote_elsewhere_is_not_taken_for_an_empty_table(
    tmp_path: Path, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vasg.warehouse.publication.address", lambda path: f"file://{tmp_path}/another_host{path}")
    frame = spark.createDataFrame(
        [("u", "p", 1.0, 0)], "user_id string, product_id string, rating float, timestamp long"
    )
    with (
        Warehouse(tmp_path / "root").publication("preprocess_reviews", "run", "") as publication,
        pytest.raises(ConfigurationError, match="--root must be the same folder on all hosts"),
    ):
        publication.write("reviews", frame)
    assert not list((tmp_path / "root" / "tables").rglob("*.parquet"))


def test_files_of_failed_attempts_are_left_out_also_when_no_attempt_wrote_a_row(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    with warehouse.publication("score", "run", "") as publication:
        pq.write_table(uncovered("ghost"), publication.directory("uncovered") / "part-00000-failed.parquet")
        publication.add("uncovered", [])
        publication.commit("mark", {})
    assert ids(warehouse) == []
    assert [p.name for p in warehouse.path("uncovered").glob("*.parquet")] == ["part-00000.parquet"]


def test_the_manifest_tells_rows_facts_and_configuration(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    with warehouse.publication("score", "run7", "seed = 7\n") as publication:
        pq.write_table(uncovered("a", "b"), publication.directory("uncovered") / "x.parquet")
        publication.add("uncovered", facts={"encoder": "descriptor-1"})
        publication.commit("mark", {})
    manifest = warehouse.manifest("uncovered")
    assert (manifest["rows"], manifest["run_id"], manifest["stage"]) == (2, "run7", "score")
    assert manifest["facts"] == {"encoder": "descriptor-1"}
    assert (warehouse.path("uncovered") / "_config.toml").read_text() == "seed = 7\n"
    assert not (warehouse.path("uncovered") / STAGED).exists()


def test_the_digest_follows_the_content(tmp_path: Path) -> None:
    digests = []
    for name, content in (("a", "u"), ("b", "u"), ("c", "v")):
        warehouse = Warehouse(tmp_path / name)
        publish(warehouse, content)
        digests.append(warehouse.digest("uncovered"))
    assert digests[0] == digests[1] != digests[2]


def test_sweep_removes_only_what_no_catalog_names(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    publish(warehouse, "first")
    publish(warehouse, "second")
    versions = set(warehouse.path("uncovered").parent.iterdir())
    (warehouse.path("uncovered") / STAGED).touch()  # killed after the commit, before the marker went
    abandoned = warehouse.publication("score", "killed", "")
    abandoned.__enter__().write_arrow("uncovered", uncovered("half"))
    assert len(set(warehouse.path("uncovered").parent.iterdir()) - versions) == 1
    outside = tmp_path / "elsewhere" / "version"
    outside.mkdir(parents=True)
    (outside / STAGED).touch()
    (tmp_path / "tables" / "linked").symlink_to(outside.parent)
    (tmp_path / "tables" / "uncovered" / "linked").symlink_to(outside)
    warehouse.remove_abandoned("next")
    (tmp_path / "tables" / "uncovered" / "linked").unlink()
    assert set(warehouse.path("uncovered").parent.iterdir()) == versions
    assert not list((tmp_path / "tables" / "uncovered").glob(f"*/{STAGED}"))
    assert (outside / STAGED).exists(), "what a link leads to was removed"
    assert ids(warehouse) == ["second"]


def test_what_was_swept_can_no_longer_be_published(tmp_path: Path) -> None:
    publish(Warehouse(tmp_path), "old")
    with Warehouse(tmp_path).lock("slow") as warehouse, warehouse.publication("score", "slow", "") as publication:
        publication.write_arrow("uncovered", uncovered("slow"))
        Warehouse(tmp_path).remove_abandoned("next")
        with pytest.raises(TryLater, match="another run published"):
            publication.commit("mark", {})
    assert ids(Warehouse(tmp_path)) == ["old"]


def test_a_run_reads_one_moment_whatever_is_published_meanwhile(tmp_path: Path) -> None:
    publish(Warehouse(tmp_path), "old")
    with Warehouse(tmp_path).lock("run") as warehouse:
        publish(Warehouse(tmp_path), "new")
        assert ids(warehouse) == ["old"]
    assert ids(Warehouse(tmp_path)) == ["new"]


# ---- damage ----


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, r"has \d+ bytes instead of \d+"),
        (flip_a_bit, "other content than was published"),
        (empty, "has 0 bytes instead of"),
        (Path.unlink, "is missing"),
    ],
)
def test_verify_finds_damaged_files(tmp_path: Path, damage: object, message: str) -> None:
    warehouse = Warehouse(tmp_path)
    publish(warehouse, "a", "b")
    warehouse.verify("uncovered")
    file = warehouse.files("uncovered")[0]
    assert callable(damage)
    damage(file)
    with pytest.raises(DataError, match=message) as caught:
        warehouse.verify("uncovered")
    assert str(file) in str(caught.value)
    assert "run score again" in str(caught.value)


def test_a_damaged_manifest_is_bad_data(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    publish(warehouse, "a")
    (warehouse.path("uncovered") / MANIFEST).write_text('{"rows": ')
    with pytest.raises(DataError, match=r"manifest .* cannot be read"):
        warehouse.verify("uncovered")


def test_what_is_not_there_says_who_writes_it(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match=r"table walks is not in .*; run generate_walks first"):
        Warehouse(tmp_path).path("walks")
    with pytest.raises(InputMissing, match="there is no table wlaks; tables are reviews, "):
        Warehouse(tmp_path).path("wlaks")


def test_a_root_that_cannot_be_made_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be created"), Warehouse(tmp_path / "file" / "root").lock("run"):
        pass


# ---- one run at a time ----


def test_of_two_concurrent_publications_one_wins_and_one_is_told_to_try_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_have_read, outcomes = threading.Barrier(2), []
    original = Catalogs.publish

    def publish_when_both_have_read(self: Catalogs, *arguments: Any) -> None:
        both_have_read.wait()
        original(self, *arguments)

    monkeypatch.setattr(Catalogs, "publish", publish_when_both_have_read)

    def run(name: str) -> None:
        try:
            publish(Warehouse(tmp_path), name, run_id=name)
            outcomes.append(name)
        except TryLater as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=run, args=(name,)) for name in ("left", "right")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winner, refusal = sorted(outcomes, key=len)
    assert "another run published" in refusal
    assert ids(Warehouse(tmp_path)) == [winner]
    assert len(list((tmp_path / "tables" / "uncovered").iterdir())) == 1, "the loser left files behind"


# ---- readers ----


def test_recommendations_read_the_same_in_spark_pandas_and_duckdb(tmp_path: Path, spark: SparkSession) -> None:
    warehouse = Warehouse(tmp_path)
    rows = [(f"00{u}", rank, f"0{rank}5", 1.0 / rank, rank == 2) for u in range(5) for rank in (1, 2, 3)]
    schema = schemas.TABLES["recommendations"].arrow()
    columns = [*zip(*rows, strict=True), ["vasg"] * len(rows), ["run"] * len(rows)]
    table = pa.table([pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)], schema)
    with warehouse.publication("score", "run", "") as publication:
        folder = publication.directory("recommendations") / "run_date=2025-01-31"
        folder.mkdir()
        for part in range(3):
            pq.write_table(table.slice(part * 5, 5), folder / f"part-{part:05d}.parquet")
        publication.add("recommendations")
        publication.commit("mark", {})
    warehouse.verify("recommendations")
    directory = warehouse.path("recommendations")
    by_spark = warehouse.read(spark, "recommendations").orderBy("user_id", "rank")
    assert [
        tuple(row)[:5] for row in by_spark.select("user_id", "rank", "product_id", "score", "is_cold").collect()
    ] == [(u, r, p, pytest.approx(s), c) for u, r, p, s, c in rows]
    assert {str(row.run_date) for row in by_spark.select("run_date").collect()} == {"2025-01-31"}
    by_pandas = pd.read_parquet(directory).sort_values(["user_id", "rank"])
    assert by_pandas["user_id"].tolist() == [row[0] for row in rows]
    assert set(by_pandas["run_date"].astype(str)) == {"2025-01-31"}
    query = f"select user_id, rank, product_id, run_date from read_parquet('{directory}/**/*.parquet') order by 1, 2"
    by_duckdb = duckdb.sql(query).fetchall()
    assert by_duckdb == [(u, r, p, datetime.date(2025, 1, 31)) for u, r, p, _, _ in rows]
    assert warehouse.manifest("recommendations")["rows"] == len(rows) == len(by_pandas)
