"""The picture files of a pattern, as Spark finds and reads them."""

from collections.abc import Set
from dataclasses import dataclass
from urllib.parse import unquote

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as F

from vasg.errors import InputMissing, TryLater
from vasg.features.pattern import PathPattern
from vasg.features.pictures import MAX_BYTES
from vasg.ingest.sources import SKIPPED
from vasg.spark.paths import address, literal, without_scheme

_BATCH = 16  # files in an Arrow batch: at most 512 MiB, usually less than one
_PER_TASK = 512  # pictures at most: a task holds its features until it writes its file
_FEW = 30  # where less than one in so many is wanted, Spark is given their paths; each costs it 2 ms
_GONE = "PATH_NOT_FOUND"  # in what Spark says

Stamp = tuple[int, int]  # bytes of a file, and when it was last changed, in ms since 1970-01-01 UTC


@dataclass(frozen=True)
class Listing:
    """All pictures of a pattern, as they were before any was read."""

    paths: list[str]  # sorted
    stamps: dict[str, Stamp]  # by path; files without content have none: Spark passes over them
    _reader: DataFrameReader
    _files: DataFrame

    def read(self, wanted: Set[str]) -> tuple[DataFrame, frozenset[str]]:
        """(path, content) of files with the ``wanted`` ones among them, and the paths of the others to pass over.

        Content is null where a file is too large. Raises TryLater when one is no longer there.
        """
        if len(wanted) * _FEW >= len(self.paths):
            return _with_content(self._files), frozenset(self.paths) - wanted
        try:
            return _with_content(self._reader.load([literal(path) for path in sorted(wanted)])), frozenset()
        except AnalysisException as error:
            if _GONE in str(error):
                raise TryLater("features.path: pictures were removed while they were read; run again") from None
            raise


def find_pictures(spark: SparkSession, pattern: PathPattern) -> Listing:
    """All that Spark sees: as everywhere in it, not what is in files or folders whose names begin with _ or .

    Raises InputMissing when no file matches.
    """
    spark = spark.newSession()  # the settings below are for its frames only
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", str(_BATCH))
    # what a small file costs: at most _PER_TASK in a task
    spark.conf.set("spark.sql.files.openCostInBytes", str(1 << 20))
    spark.conf.set("spark.sql.files.maxPartitionBytes", str(_PER_TASK << 20))
    try:
        files = _reader(spark).option("pathGlobFilter", pattern.file_name).load(address(pattern.folder))
    except AnalysisException as error:
        if _GONE in str(error):
            raise InputMissing(
                f"features.path: folder {pattern.folder} is not there; pictures are {pattern.glob}"
            ) from None
        raise
    paths = sorted(
        path for path in (without_scheme(unquote(uri)) for uri in files.inputFiles()) if pattern.fits_glob(path)
    )
    if not paths:
        raise InputMissing(f"features.path: no file matches {pattern.glob}; {SKIPPED}")
    rows = files.select("path", "length", F.unix_millis("modificationTime")).collect()
    stamps = {without_scheme(path): (size, time) for path, size, time in rows}
    return Listing(paths, stamps, _reader(spark), files)


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


def _reader(spark: SparkSession) -> DataFrameReader:
    return spark.read.format("binaryFile").option("recursiveFileLookup", "true")


def _with_content(files: DataFrame) -> DataFrame:
    usable = files.where(F.col("length") <= MAX_BYTES).select("path", "content")
    large = files.where(F.col("length") > MAX_BYTES).select("path", F.lit(None).cast("binary").alias("content"))
    return usable.unionByName(large)
