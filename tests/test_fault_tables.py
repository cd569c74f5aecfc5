"""Damaged tables meet the job that reads them; what interrupts a writer in the middle of a file, or of the swap."""

import errno
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from damage import empty, flip_a_bit, truncate
from fault_server import Server, read, rows
from pyspark import TaskContext
from pyspark.sql import SparkSession

from vasg import schemas
from vasg.warehouse import files
from vasg.warehouse.parts import write_parts
from vasg.warehouse.publication import STAGED
from vasg.warehouse.tables import Warehouse

pytestmark = pytest.mark.fault


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty, Path.unlink])
def test_a_job_refuses_a_damaged_table_and_names_the_file(
    tmp_path: Path, run_job: Callable[..., int], capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None]
) -> None:
    warehouse = Warehouse(tmp_path / "root")
    with warehouse.publication("preprocess_reviews", "run", "") as publication:
        for table in ("reviews", "image_features"):
            publication.write_arrow(table, rows(table, "x"))
        publication.commit("mark", {})
    (tmp_path / "config.toml").write_text("[features]\nsource = 'feature_file'\n")
    file = warehouse.files("image_features")[0]
    damage(file)
    before = warehouse.catalog()
    assert run_job("filter_users", tmp_path / "config.toml", tmp_path / "root") == 65
    line = capsys.readouterr().err
    assert line.startswith(f"vasg filter_users: table image_features: {file} ")
    assert line.count("\n") == 1
    assert warehouse.catalog() == before


def test_a_python_worker_that_is_killed_is_retried_and_leaves_no_second_part(
    spark: SparkSession, tmp_path: Path
) -> None:
    def dies_once(batches: Iterator[pa.RecordBatch]) -> Iterable[pa.Table]:
        context = TaskContext.get()
        assert context is not None
        for batch in batches:
            column = pa.array([str(number) for number in batch["id"].to_pylist()])
            yield pa.table({"id": column, "node_type": column, "reason": column})
        if context.partitionId() == 1 and context.attemptNumber() == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    warehouse = Warehouse(tmp_path)
    with warehouse.publication("score", "run", "") as publication:
        directory = publication.directory("uncovered")
        parts = write_parts(spark.range(0, 40, 1, 2), dies_once, directory, schemas.TABLES["uncovered"].arrow())
        assert len(list(directory.glob("*.parquet"))) == 3, "the killed attempt should have left its file"
        publication.add("uncovered", parts)
        publication.commit("mark", {})
    warehouse.verify("uncovered")
    assert sorted(map(int, warehouse.read_arrow("uncovered")["id"].to_pylist())) == list(range(40))
    assert len(warehouse.files("uncovered")) == len(list(warehouse.path("uncovered").glob("*.parquet"))) == 2


@pytest.mark.parametrize(("action", "code"), [("kill", -signal.SIGKILL), ("term", 128 + signal.SIGTERM), ("error", 70)])
def test_what_interrupts_a_commit_that_readers_see_takes_nothing_back(tmp_path: Path, action: str, code: int) -> None:
    config, root, raw = (tmp_path / name for name in ("config.toml", "root", "raw"))
    config.write_text("[reviews]\npath = 'raw'\n[features]\nsource = 'feature_file'\npath = 'raw'\n")
    server, second = Server(), f"name-taken:{action}@2"  # the first name is that of the lock
    for value, failpoint, expected in (("old", "", 0), ("newer", second, code)):
        raw.write_text(value)
        pid = server.start("preprocess_reviews", root, failpoint, config=str(config))
        assert server.wait(pid) == expected
    server.close()
    warehouse = Warehouse(root)
    tables = warehouse.catalog()["tables"]
    assert {read(warehouse, table) for table in tables} == {"newer"}
    with warehouse.lock("next"):
        assert warehouse.catalog()["tables"] == tables
        assert {read(warehouse, table) for table in tables} == {"newer"}
    assert not list(root.rglob(STAGED))


def publish(warehouse: Warehouse, value: str) -> None:
    with warehouse.publication("preprocess_reviews", value, "") as publication:
        publication.write_arrow("reviews", rows("reviews", value))
        publication.commit("mark", {})


def test_a_disk_that_fails_once_readers_see_a_commit_takes_nothing_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sync(path: Path) -> None:
        if path.name == "catalog":
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    warehouse = Warehouse(tmp_path)
    publish(warehouse, "old")
    monkeypatch.setattr(files, "sync", sync)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        publish(warehouse, "new")
    assert read(warehouse, "reviews") == "new"


def test_nothing_is_removed_where_the_catalogs_cannot_be_read(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    publish(warehouse, "old")
    with warehouse.publication("score", "next", "") as publication:
        directory = publication.directory("metrics")
        warehouse.catalogs.files()[0].write_text("{")
    assert (directory / STAGED).exists()
