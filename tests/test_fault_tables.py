"""Damaged tables meet the job that reads them; a Python worker that is killed in the middle of a file."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from damage import empty, flip_a_bit, truncate
from fault_server import rows
from pyspark import TaskContext
from pyspark.sql import SparkSession

from vasg import schemas
from vasg.parts import write_parts
from vasg.tables import Warehouse

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
