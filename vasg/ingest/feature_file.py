"""The ``.b`` image feature file: fixed records of a product id of up to 10 bytes and I little-endian float32."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from vasg import schemas
from vasg.config import Features
from vasg.errors import ConfigurationError, DataError, InputMissing, first_line
from vasg.ingest.rejects import Records, separated
from vasg.spark.paths import without_scheme
from vasg.warehouse.parts import write_parts
from vasg.warehouse.publication import Part

ID_BYTES = 10
_CHUNK_BYTES, _CHUNK_RECORDS = 32 << 20, 4096  # what a task holds at once, and the size of a row group
_CHUNKS_PER_FILE = 8
_COMMON_DIMS = (64, 100, 128, 256, 300, 384, 512, 768, 1024, 1280, 2048, 4096)


@dataclass(frozen=True)
class FeatureFile:
    """A feature file and the ranges of records, ``chunk`` by ``chunk``, in which tasks read it."""

    path: str
    dim: int
    records: int
    chunk: int  # records in a range

    @property
    def chunks(self) -> int:
        """Number of ranges."""
        return -(-self.records // self.chunk)

    @property
    def files(self) -> int:
        """Partitions to read it in: depends on the file alone, so that the same file gives the same table."""
        return -(-self.chunks // _CHUNKS_PER_FILE)

    def read(self, number: int) -> NDArray[Any]:
        """The records of a range as a structured array with the fields ``id`` (S10) and ``feature`` (float32[dim])."""
        first = number * self.chunk
        count = min(self.chunk, self.records - first)
        kind = _record(self.dim)
        filesystem, path = _filesystem(self.path)
        with filesystem.open_input_file(path) as file:
            content = file.read_at(count * kind.itemsize, first * kind.itemsize)
        return np.frombuffer(content, kind, count)


def feature_file(settings: Features) -> FeatureFile:
    """The file that ``settings`` names, its size checked.

    Raises InputMissing when there is none or it is empty, DataError when its size is not a multiple of the record.
    """
    if not settings.path:
        raise ConfigurationError("features.path is not set; name the .b file")
    filesystem, path = _filesystem(settings.path)
    info = filesystem.get_file_info(path)
    if info.type != pa.fs.FileType.File:
        raise InputMissing(f"features.path: {settings.path} is not a file")
    if info.size == 0:
        raise InputMissing(f"features.path: {settings.path} is empty; fetch it again")
    record = _record(settings.dim).itemsize
    records, rest = divmod(info.size, record)
    if rest:
        fitting = [str(dim) for dim in _COMMON_DIMS if info.size % _record(dim).itemsize == 0]
        hint = f"features.dim {' or '.join(fitting)} would fit" if fitting else "it is cut off or features.dim is wrong"
        raise DataError(
            f"{settings.path}: {info.size:,} bytes are not a whole number of records of {record:,} bytes "
            f"({ID_BYTES} for the id, 4 x {settings.dim} for the feature; {rest:,} left over): {hint}"
        )
    chunk = max(1, min(_CHUNK_RECORDS, _CHUNK_BYTES // record))
    return FeatureFile(settings.path, settings.dim, records, chunk)


def read_ids(spark: SparkSession, file: FeatureFile, limit: float) -> AbstractContextManager[Records]:
    """``position`` (record number from 0) and ``product_id`` of every usable record, and the records that are not.

    The first usable record of a product counts, later ones are rejected. Raises DataError for too many bad records.
    """
    ranges = spark.range(0, file.chunks, 1, file.files)
    found = ranges.mapInArrow(_classified(file), "position long, product_id string, reason string")
    usable = F.col("reason").isNull()
    occurrence = F.row_number().over(Window.partitionBy("product_id", usable).orderBy("position"))
    parsed = found.withColumn("occurrence", occurrence).select(
        F.lit(file.path).alias("source"),
        F.lit(0).cast("long").alias("block"),
        "position",
        "product_id",
        F.when(usable & (F.col("occurrence") > 1), F.lit("repeated id")).otherwise(F.col("reason")).alias("reason"),
        F.col("product_id").alias("raw"),
    )
    return separated(parsed, [file.path], "features", limit, ("position", "product_id"))


def write_features(file: FeatureFile, ids: DataFrame, directory: Path) -> list[Part]:
    """Write the features of the records named by ``ids`` (``position``) as files of the table ``image_features``."""
    chosen = (
        ids.select((F.col("position") / file.chunk).cast("long").alias("chunk"), (F.col("position") % file.chunk).alias("row"))
        .groupBy("chunk")
        .agg(F.sort_array(F.collect_list("row")).alias("rows"))
        .repartition(file.files, "chunk")
        .sortWithinPartitions("chunk")
    )  # fmt: skip
    return write_parts(chosen, _features(file), directory, schemas.TABLES["image_features"].arrow())


def _record(dim: int) -> np.dtype[Any]:
    return np.dtype([("id", f"S{ID_BYTES}"), ("feature", "<f4", (dim,))])


def _ids(records: NDArray[Any]) -> NDArray[np.bytes_]:
    """Ids of at most 10 bytes, without the zeros or blanks that fill up shorter ones."""
    return np.char.rstrip(records["id"], b" ").astype(f"S{ID_BYTES}")


def _filesystem(path: str) -> tuple[pa.fs.FileSystem, str]:
    """Where the file is. Raises ConfigurationError for an address that Arrow cannot open."""
    path = without_scheme(path)  # in which nothing is encoded, as for Spark
    if "://" not in path:
        return pa.fs.LocalFileSystem(), path
    try:
        # s3a is Spark's name
        found: tuple[pa.fs.FileSystem, str] = pa.fs.FileSystem.from_uri(re.sub("^s3a://", "s3://", path))
    except (pa.ArrowInvalid, OSError) as error:
        raise ConfigurationError(
            f"features.path: {path} cannot be opened ({first_line(error)}); name a file, or an address of s3, gs or hdfs"
        ) from None
    return found


def _classified(file: FeatureFile) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Every record's id, and why it is not usable."""

    def classify(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                records = file.read(number)
                ids = _ids(records)
                codes, length = ids.view(np.uint8).reshape(len(ids), ID_BYTES), np.char.str_len(ids)
                within = np.arange(ID_BYTES) < length[:, None]
                printable = (codes > 0x20) & (codes < 0x7F)
                shown = np.where(printable | ~within, codes, np.uint8(ord("?"))).view(f"S{ID_BYTES}").reshape(-1)
                values = np.ascontiguousarray(records["feature"])
                finite = np.isfinite(values).all(axis=1)
                reason = np.select(
                    [length == 0, (within & ~printable).any(axis=1), ~finite, ~values.any(axis=1)],
                    ["id is empty", "id is not printable ASCII without blanks", "feature not finite", "feature all zero"], "",
                )  # fmt: skip
                yield pa.RecordBatch.from_arrays(
                    [
                        pa.array(np.arange(len(ids), dtype=np.int64) + number * file.chunk),
                        pa.array(shown).cast(pa.string()),
                        pa.array(reason, pa.string(), mask=reason == ""),
                    ],
                    ["position", "product_id", "reason"],
                )

    return classify


def _features(file: FeatureFile) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.Table]]:
    """The chosen records of each range, gathered to row groups of at least a range's size."""

    def gather(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
        waiting: list[pa.Table] = []
        for batch in batches:
            for number, rows in zip(batch.column("chunk").to_pylist(), batch.column("rows"), strict=True):
                waiting.append(_table(file.read(number)[rows.values.to_numpy()]))
                if sum(table.num_rows for table in waiting) >= file.chunk:
                    yield pa.concat_tables(waiting)
                    waiting = []
        if waiting:
            yield pa.concat_tables(waiting)

    return gather


def _table(records: NDArray[Any]) -> pa.Table:
    ids = pa.array(_ids(records)).cast(pa.string())
    return pa.table({"product_id": ids, "feature": schemas.list_column(records["feature"])})
