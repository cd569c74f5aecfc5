"""All pictures of a pattern to image features, on Spark: decoded and encoded in the Python workers, written by them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL.Image import Image
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as F
from threadpoolctl import threadpool_limits

from vasg import schemas
from vasg.config import Features
from vasg.errors import ConfigurationError, InputMissing
from vasg.features.encoders import Encoder, facts, load_encoder
from vasg.features.pattern import PathPattern
from vasg.features.pictures import EMPTY, MAX_BYTES, PictureError, decode
from vasg.ingest.rejects import check_limit
from vasg.ingest.sources import SKIPPED
from vasg.spark.paths import address, literal, without_scheme
from vasg.warehouse.parts import Target, write_tables
from vasg.warehouse.publication import Part, describe

FEATURES, REJECTS = "image_features", "rejected_pictures"
TOO_LARGE, WRONG_PATH, SURPLUS, NOT_FINITE, ALL_ZERO = (
    "file too large", "path does not fit the pattern", "another picture of the product", "feature not finite", "feature all zero",
)  # fmt: skip

_BATCH = 16  # files in an Arrow batch: at most 512 MiB, usually less than one
_PER_TASK = 512  # pictures at most: a task holds its features until it writes its file
_DETAIL = 200  # characters kept of what is wrong with a picture
_EXAMPLES = 3

Reject = tuple[str, str, str]  # path, reason, detail


@dataclass(frozen=True)
class Extracted:
    """The files of both tables, what is to be kept with the features, and how many of ``total`` pictures have none, by reason."""

    features: list[Part]
    rejects: list[Part]
    facts: dict[str, str | int]
    total: int
    rejected: dict[str, int]


def extract_features(spark: SparkSession, settings: Features, features: Path, rejects: Path) -> Extracted:
    """Write the features of all pictures, and the pictures that have none, as Parquet into the two directories.

    Memory on the driver: the paths of all pictures; in a task: 16 files, one picture being decoded, 512 features. Raises
    ConfigurationError for a wrong pattern or encoder, InputMissing when there is no picture, and DataError when more than
    ``settings.max_bad_fraction`` of them are bad. Of several pictures of a product the first that is good counts, and
    those behind it are neither good nor bad.
    """
    pattern = PathPattern(settings.path)
    known = facts(load_encoder(settings.encoder, settings.weights))
    frame, paths = find_pictures(spark, pattern)
    later = later_pictures(pattern, paths)
    skipped = {path for others in later.values() for path in others}
    task = EncodePictures(pattern, settings.encoder, settings.weights, known, settings.max_pixels, frozenset(skipped))
    targets = {
        FEATURES: Target(features, schemas.TABLES[FEATURES].arrow()),
        REJECTS: Target(rejects, schemas.TABLES[REJECTS].arrow()),
    }
    parts: dict[str, list[Part]] = {FEATURES: [], REJECTS: []}
    tried, failed = set(paths) - skipped, set[str]()
    while tried:
        found = write_tables(frame, task, targets)
        parts = {table: parts[table] + found[table] for table in parts}
        good = set(_column("product_id", features, found[FEATURES]))
        bad_now = {path for path in tried if pattern.product_id(path) not in good}
        failed, tried = failed | bad_now, _next_pictures(pattern, bad_now, later)
        if tried:
            frame, task, skipped = _pictures_at(spark, tried), replace(task, skipped=frozenset()), skipped - tried
    reasons = dict(zip(*(_column(name, rejects, parts[REJECTS]) for name in ("source", "reason")), strict=True))
    # Spark passes over files without content: no task has seen them.
    unseen = dict.fromkeys(sorted(failed - reasons.keys()), EMPTY) | dict.fromkeys(sorted(skipped), SURPLUS)
    if unseen:
        rows = [(path, reason, "") for path, reason in unseen.items()]
        pq.write_table(_reject_table(rows), rejects / "part-unseen.parquet")
        parts[REJECTS].append(describe(rejects / "part-unseen.parquet", rejects))
    reasons |= unseen
    bad = {path: reason for path, reason in reasons.items() if reason != SURPLUS}  # which nobody needs
    examples = [f"{path} ({bad[path]})" for path in sorted(bad)[:_EXAMPLES]]
    check_limit(
        "pictures", len(paths) - len(reasons) + len(bad), Counter(bad.values()), settings.max_bad_fraction, examples
    )
    return Extracted(parts[FEATURES], parts[REJECTS], known, len(paths), dict(Counter(reasons.values())))


def _next_pictures(pattern: PathPattern, failed: set[str], later: dict[str, list[str]]) -> set[str]:
    """One more picture, taken out of ``later``, of each product that has another one than those that ``failed``."""
    waiting = (later.get(pattern.product_id(path) or "") for path in failed)
    return {others.pop(0) for others in waiting if others}


def _reader(spark: SparkSession) -> DataFrameReader:
    """Reads files whole, some hundreds in a task and few at a time."""
    spark = spark.newSession()  # the settings below are for its frames only
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", str(_BATCH))
    # what a small file costs: at most _PER_TASK in a task
    spark.conf.set("spark.sql.files.openCostInBytes", str(1 << 20))
    spark.conf.set("spark.sql.files.maxPartitionBytes", str(_PER_TASK << 20))
    return spark.read.format("binaryFile").option("recursiveFileLookup", "true")


def _pictures_at(spark: SparkSession, paths: set[str]) -> DataFrame:
    return _with_content(_reader(spark).load([literal(path) for path in sorted(paths)]))


def find_pictures(spark: SparkSession, pattern: PathPattern) -> tuple[DataFrame, list[str]]:
    """The pictures as (path, content), content null where the file is too large, and the sorted paths of all.

    As everywhere in Spark, files and folders whose names begin with _ or . are not seen. Raises InputMissing when no file
    matches.
    """
    reader = _reader(spark)
    try:
        files = reader.option("pathGlobFilter", pattern.file_name).load(address(pattern.folder))
    except AnalysisException as error:
        if "PATH_NOT_FOUND" in str(error):
            raise InputMissing(
                f"features.path: folder {pattern.folder} is not there; pictures are {pattern.glob}"
            ) from None
        raise
    paths = sorted(
        path for path in (without_scheme(unquote(uri)) for uri in files.inputFiles()) if pattern.fits_glob(path)
    )
    if not paths:
        raise InputMissing(f"features.path: no file matches {pattern.glob}; {SKIPPED}")
    return _with_content(files), paths


def _with_content(files: DataFrame) -> DataFrame:
    usable = files.where(F.col("length") <= MAX_BYTES).select("path", "content")
    large = files.where(F.col("length") > MAX_BYTES).select("path", F.lit(None).cast("binary").alias("content"))
    return usable.unionByName(large)


def later_pictures(pattern: PathPattern, paths: list[str]) -> dict[str, list[str]]:
    """All but the first of the ``paths`` of each product, in their order; without a ``*`` in the pattern it has only one."""
    seen, later = set[str](), dict[str, list[str]]()
    for path in paths:
        product = pattern.product_id(path)
        if product in seen:
            later.setdefault(product, []).append(path)
        elif product is not None:
            seen.add(product)
    return later


@dataclass(frozen=True)
class EncodePictures:
    """What a task does: batches of (path, content) to one table of features and one of rejects."""

    pattern: PathPattern
    encoder: str
    weights: str
    facts: dict[str, str | int]  # of the encoder on the driver
    max_pixels: int
    skipped: frozenset[str]  # paths to pass over

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[str, pa.Table]]:
        """One thread: Spark runs a task on every core."""
        encoder = _encoder(self.encoder, self.weights)
        if facts(encoder) != self.facts:
            raise ConfigurationError(
                f"encoder {self.encoder} differs between hosts: {facts(encoder)} here, {self.facts} on the driver; install "
                "the same versions and weights everywhere"
            )
        features: list[pa.Table] = []
        rejects: list[Reject] = []
        with threadpool_limits(1):
            for batch in batches:
                features += self._encode(encoder, batch, rejects)
        if features:
            yield FEATURES, pa.concat_tables(features).combine_chunks()
        if rejects:
            yield REJECTS, _reject_table(rejects)

    def _encode(self, encoder: Encoder, batch: pa.RecordBatch, rejects: list[Reject]) -> Iterator[pa.Table]:
        """The features of the good pictures of a batch; the others are added to ``rejects``."""
        pictures, products, sources = [], [], []
        for value, content in zip(batch.column("path"), batch.column("content"), strict=True):
            path = without_scheme(value.as_py())
            if not self.pattern.fits_glob(path) or path in self.skipped:
                continue  # Spark chose by folder and file name; what lies between them is not part of the pattern
            product = self.pattern.product_id(path)
            try:
                pictures.append(self._decode(path, product, content.as_py()))
            except PictureError as error:
                rejects.append((path, error.reason, error.detail))
            else:
                products.append(product)
                sources.append(path)
        if pictures:
            values = encoder.encode(pictures)  # [n, I]
            finite, some = np.isfinite(values).all(axis=1), values.any(axis=1)
            rejects += [
                (sources[i], ALL_ZERO if finite[i] else NOT_FINITE, "") for i in np.flatnonzero(~(finite & some))
            ]
            keep = np.flatnonzero(finite & some)
            ids = pa.array([products[i] for i in keep], pa.string())
            yield pa.table({"product_id": ids, "feature": schemas.list_column(values[keep])})

    def _decode(self, path: str, product: str | None, content: bytes | None) -> Image:
        if product is None:
            raise PictureError(WRONG_PATH)
        if content is None:
            raise PictureError(TOO_LARGE, f"more than {MAX_BYTES:,} bytes")
        return decode(content, self.max_pixels)


@cache  # once for all tasks of a Python worker
def _encoder(name: str, weights: str) -> Encoder:
    return load_encoder(name, weights)


def _reject_table(rejects: list[Reject]) -> pa.Table:
    rows = [{"source": path, "line": -1, "reason": reason, "raw": detail[:_DETAIL]} for path, reason, detail in rejects]
    return pa.Table.from_pylist(rows, schema=schemas.TABLES[REJECTS].arrow())


def _column(name: str, directory: Path, parts: list[Part]) -> list[str]:
    return [value for part in parts for value in pq.read_table(directory / part.path, columns=[name])[name].to_pylist()]
