"""Tasks that write Parquet themselves: one file a Spark partition, described back to the driver in one row.

Large arrays (features, walks) never pass through the JVM, and row groups are exactly what the task yields. Every
attempt writes under a name of its own, so a retried or speculative task cannot disturb another; the files of attempts
that did not win are left out of the manifest and removed (``Publication.add``).
"""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark import TaskContext
from pyspark.sql import DataFrame, SparkSession

from vasg.warehouse.publication import Part, describe

Transform = Callable[[Iterator[pa.RecordBatch]], Iterable[pa.Table]]
NamedTransform = Callable[[Iterator[pa.RecordBatch]], Iterable[tuple[str, pa.Table]]]
NumberedTransform = Callable[[int], Iterable[tuple[str, pa.Table]]]

_MANIFEST_ROW = pa.schema(
    [
        ("target", pa.string()),
        ("path", pa.string()),
        ("bytes", pa.int64()),
        ("rows", pa.int64()),
        ("sha256", pa.string()),
    ]
)


@dataclass(frozen=True)
class Target:
    """Where the files of one table go; the paths of parts are relative to ``directory``."""

    directory: Path
    schema: pa.Schema
    subdirectory: str = ""


def write_parts(frame: DataFrame, transform: Transform, directory: Path, schema: pa.Schema) -> list[Part]:
    """Run ``transform`` over the Arrow batches of each partition and write what it yields.

    Each yielded table becomes one row group of the partition's file ``part-NNNNN-ATTEMPT.parquet`` in
    ``directory``; partitions that yield nothing leave no file. Returns the parts in the order of partitions.
    """

    def named(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[str, pa.Table]]:
        return (("", table) for table in transform(batches))

    return write_tables(frame, named, {"": Target(directory, schema)})[""]


def write_tables(frame: DataFrame, transform: NamedTransform, targets: Mapping[str, Target]) -> dict[str, list[Part]]:
    """Like ``write_parts`` for several tables in one pass: ``transform`` yields (key of ``targets``, table)."""
    _make_directories(targets)

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        parts = _write(transform(iter(batches)), targets)
        yield pa.RecordBatch.from_pylist([{"target": key, **asdict(part)} for key, part in parts], schema=_MANIFEST_ROW)

    rows = frame.mapInArrow(write, "target string, path string, bytes long, rows long, sha256 string").collect()
    return _by_target([(row.target, Part(row.path, row.bytes, row.rows, row.sha256)) for row in rows], targets)


def write_numbered(
    spark: SparkSession, count: int, transform: NumberedTransform, targets: Mapping[str, Target]
) -> dict[str, list[Part]]:
    """Like ``write_tables`` with one task for each number below ``count``, which is all that its ``transform`` is given.

    Such tasks read no table, so nothing has to be planned: the first plan of a session takes Spark seconds.
    """
    _make_directories(targets)

    def write(numbers: Iterable[int]) -> Iterator[tuple[str, Part]]:
        return iter(_write((named for number in numbers for named in transform(number)), targets))

    found = spark.sparkContext.parallelize(range(count), max(1, count)).mapPartitions(write).collect()
    return _by_target(found, targets)


def write_here(tables: Iterable[pa.Table], target: Target) -> list[Part]:
    """Like ``write_parts``, in this process: a file with the ``tables`` as its row groups, or none if there are none."""
    _make_directories({"": target})
    return [part for _, part in _write((("", table) for table in tables), {"": target})]


def _make_directories(targets: Mapping[str, Target]) -> None:
    for target in targets.values():
        (target.directory / target.subdirectory).mkdir(parents=True, exist_ok=True)


def _write(tables: Iterable[tuple[str, pa.Table]], targets: Mapping[str, Target]) -> list[tuple[str, Part]]:
    """Write what a task yields; its files, with the keys of their targets."""
    context = TaskContext.get()
    name = f"part-{context.partitionId() if context else 0:05d}-{uuid.uuid4().hex[:8]}.parquet"
    files = {key: _File(target, name) for key, target in targets.items()}
    try:
        for key, table in tables:
            files[key].write(table)
    finally:
        for file in files.values():
            file.close()
    return [(key, part) for key, file in files.items() if (part := file.part())]


def _by_target(found: Sequence[tuple[str, Part]], targets: Mapping[str, Target]) -> dict[str, list[Part]]:
    ordered = sorted(found, key=lambda one: one[1].path)
    return {key: [part for target, part in ordered if target == key] for key in targets}


def _storage(schema: pa.Schema) -> dict[str, dict[str, str]]:
    """How a file stores each column: lists of whole numbers, that is walks, in as many bits as they need, the rest by zstd.

    On top of the former zstd would save a twenty-fifth of the bytes and take a quarter of the writing's time.
    """
    compression, encoding = {}, {}
    for field in schema:
        is_list = pa.types.is_list(field.type)
        column = f"{field.name}.list.element" if is_list else field.name
        packed = is_list and pa.types.is_integer(field.type.value_type)
        compression[column] = "none" if packed else "zstd"
        if packed:
            encoding[column] = "DELTA_BINARY_PACKED"
    return {"compression": compression, "column_encoding": encoding}


class _File:
    """A Parquet file that is created with its first row group."""

    def __init__(self, target: Target, name: str) -> None:
        self._target, self._path = target, target.directory / target.subdirectory / name
        self._writer: pq.ParquetWriter | None = None

    def write(self, table: pa.Table) -> None:
        schema = self._target.schema
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._path, schema, use_dictionary=False, write_statistics=False, **_storage(schema)
            )
        row_group = table.select(schema.names).cast(schema)
        self._writer.write_table(row_group, row_group_size=max(1, table.num_rows))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def part(self) -> Part | None:
        return describe(self._path, self._target.directory) if self._writer is not None else None
