"""Tasks that write Parquet themselves: row groups as yielded, one file for each partition that has rows, retries unseen."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark import TaskContext
from pyspark.sql import SparkSession

from vasg.errors import DataError
from vasg.failures import expected
from vasg.warehouse.parts import Target, write_numbered, write_parts
from vasg.warehouse.tables import Warehouse, sha256

SCHEMA = pa.schema([("id", pa.int64()), ("double", pa.int32())])


def doubled(batches: Iterator[pa.RecordBatch]) -> Iterable[pa.Table]:
    """Row groups of at most three rows."""
    numbers = [n for batch in batches for n in batch.column("id").to_pylist()]
    for begin in range(0, len(numbers), 3):
        chunk = numbers[begin : begin + 3]
        yield pa.table({"double": [2 * n for n in chunk], "id": chunk, "not_asked_for": chunk})


def test_rows_and_row_groups_are_those_that_were_yielded(spark: SparkSession, tmp_path: Path) -> None:
    parts = write_parts(spark.range(0, 16, 1, 2), doubled, tmp_path, SCHEMA)
    assert [part.rows for part in parts] == [8, 8]
    for number, part in enumerate(parts):
        path = tmp_path / part.path
        assert part.path.startswith(f"part-{number:05d}-")
        assert (part.bytes, part.sha256) == (path.stat().st_size, sha256(path))
        file = pq.ParquetFile(path)
        assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [3, 3, 2]
        assert file.schema_arrow == SCHEMA
        assert file.read().to_pydict() == {
            "id": list(range(8 * number, 8 * number + 8)),
            "double": list(range(16 * number, 16 * number + 16, 2)),
        }


@pytest.mark.fault
@pytest.mark.parametrize("partitions", [1, 3, 7])
def test_the_content_does_not_depend_on_the_partitions(spark: SparkSession, tmp_path: Path, partitions: int) -> None:
    parts = write_parts(spark.range(0, 20, 1, partitions), doubled, tmp_path, SCHEMA)
    table = pa.concat_tables([pq.read_table(tmp_path / part.path) for part in parts])
    assert table["id"].to_pylist() == list(range(20))
    assert sum(part.rows for part in parts) == 20


def test_partitions_without_rows_leave_no_file(spark: SparkSession, tmp_path: Path) -> None:
    parts = write_parts(spark.range(0, 2, 1, 6), doubled, tmp_path, SCHEMA)
    assert sum(part.rows for part in parts) == 2
    assert len(parts) == len(list(tmp_path.rglob("*.parquet"))) == 2
    assert write_parts(spark.range(0), doubled, tmp_path / "none", SCHEMA) == []


def test_a_task_that_fails_at_first_leaves_one_part_in_the_table(spark: SparkSession, tmp_path: Path) -> None:
    def fails_once(batches: Iterator[pa.RecordBatch]) -> Iterable[pa.Table]:
        context = TaskContext.get()
        assert context is not None
        for group, table in enumerate(doubled(batches)):
            if group == 1 and context.partitionId() == 1 and context.attemptNumber() == 0:
                raise RuntimeError("lost in the middle of a file")
            yield table.rename_columns(["rating", "user", "product"]).append_column(
                "split", [["train"] * table.num_rows]
            )

    schema = pa.schema(
        [("user", pa.int64()), ("product", pa.int64()), ("rating", pa.float32()), ("split", pa.string())]
    )
    warehouse = Warehouse(tmp_path)
    with warehouse.publication("filter_users", "run", "") as publication:
        directory = publication.directory("interactions")
        parts = write_parts(spark.range(0, 16, 1, 2), fails_once, directory, schema)
        assert len(list(directory.glob("*.parquet"))) == 3, "the failed attempt should have left its file"
        publication.add("interactions", parts)
        publication.commit("mark", {})
    assert sorted(warehouse.read_arrow("interactions")["user"].to_pylist()) == list(range(16))
    assert {p.name for p in warehouse.path("interactions").glob("*.parquet")} == {part.path for part in parts}
    assert len(parts) == 2
    warehouse.verify("interactions")


def test_an_expected_failure_inside_a_task_keeps_its_kind_and_message(spark: SparkSession, tmp_path: Path) -> None:
    def refuses(batches: Iterator[pa.RecordBatch]) -> Iterable[pa.Table]:
        raise DataError("line 7 of ratings.csv: not a number; mend it")

    with pytest.raises(Exception, match="line 7") as caught:
        write_parts(spark.range(0, 4, 1, 1), refuses, tmp_path, SCHEMA)
    known = expected(caught.value)
    assert isinstance(known, DataError)
    assert str(known) == "line 7 of ratings.csv: not a number; mend it"


def test_numbered_tasks_write_each_table_that_they_name(spark: SparkSession, tmp_path: Path) -> None:
    def task(number: int) -> Iterable[tuple[str, pa.Table]]:
        for key in ("even", "every") if number % 2 == 0 else ("every",):
            yield key, pa.table({"id": [number], "double": [2 * number]})

    targets = {"even": Target(tmp_path, SCHEMA, "kind=even"), "every": Target(tmp_path, SCHEMA)}
    parts = write_numbered(spark, 5, task, targets)
    for key, numbers in (("even", [0, 2, 4]), ("every", list(range(5)))):
        tables = [pq.read_table(tmp_path / part.path, partitioning=None) for part in parts[key]]
        assert [table.to_pylist() for table in tables] == [[{"id": n, "double": 2 * n}] for n in numbers]
        assert [part.sha256 for part in parts[key]] == [sha256(tmp_path / part.path) for part in parts[key]]
    assert write_numbered(spark, 0, task, targets) == {"even": [], "every": []}


def test_an_expected_failure_inside_a_numbered_task_keeps_its_kind_and_message(
    spark: SparkSession, tmp_path: Path
) -> None:
    def refuses(number: int) -> Iterable[tuple[str, pa.Table]]:
        raise DataError(f"block {number}: not a number; mend it")

    with pytest.raises(Exception, match="block 0") as caught:
        write_numbered(spark, 1, refuses, {"": Target(tmp_path, SCHEMA)})
    assert str(expected(caught.value)) == "block 0: not a number; mend it"
