"""Reviews and transactions, in all the formats they come in, as the table ``reviews``."""

import csv
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple
from urllib.parse import unquote

from pyspark.errors import SparkRuntimeException
from pyspark.sql import Column, DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from vasg.config import Reviews
from vasg.errors import DataError, InputMissing
from vasg.ingest.lines import MAX_LINE_BYTES, NUMBERING, id_fault, json_fields, read_lines
from vasg.ingest.parquet_types import check_types
from vasg.ingest.rejects import RAW_CHARACTERS, REPEATED_HEADER, Records, separated
from vasg.ingest.sources import opened
from vasg.spark.paths import literal, plain

COLUMNS = ("user_id", "product_id", "rating", "timestamp")
_MAX_COLUMNS = 1000  # of a CSV file: Spark's plan has an expression for each
_LAST_SECOND = 253_402_300_799  # of the year 9999; milliseconds taken for seconds lie beyond it
_LARGEST_FLOAT = 3.4028234663852886e38
_DAYS = 19000101, 21001231  # yyyyMMdd


class Fields(NamedTuple):
    """What a source calls the columns of ``reviews``; "" where it has none."""

    user: str
    product: str
    rating: str
    timestamp: str


_AMAZON_TO_2018 = Fields("reviewerID", "asin", "overall", "unixReviewTime")
_AMAZON_2023 = Fields("user_id", "parent_asin", "rating", "timestamp")


def read_reviews(spark: SparkSession, settings: Reviews) -> AbstractContextManager[Records]:
    """The reviews under ``settings.path`` (columns of the table ``reviews``) and the records that are none.

    Raises InputMissing when there is nothing to read, DataError for a missing column, a damaged file or too many bad
    records.
    """
    if settings.format == "csv":
        parsed, files = _csv(spark, settings)
    elif settings.format == "parquet":
        parsed, files = _parquet(spark, settings)
    else:
        parsed, files = _amazon(spark, settings)
    return separated(
        parsed, files, "reviews", settings.max_bad_fraction, COLUMNS,
        header=settings.format == "csv", empty_files=settings.format == "parquet",
    )  # fmt: skip


def _amazon(spark: SparkSession, settings: Reviews) -> tuple[DataFrame, list[str]]:
    lines, files = read_lines(spark, settings.path, "reviews.path")
    if settings.format != "amazon_2023":
        return _judged(json_fields(lines, _AMAZON_TO_2018), _AMAZON_TO_2018, F.col, json=True), files
    lines = json_fields(lines, [*_AMAZON_2023, "asin"])  # parent_asin joins the variants of a product; some lack it
    lines = lines.withColumn("parent_asin", F.coalesce("parent_asin", "asin"))
    return _judged(lines, _AMAZON_2023, F.col, ticks=1000, json=True), files


def _csv(spark: SparkSession, settings: Reviews) -> tuple[DataFrame, list[str]]:
    lines, files = read_lines(spark, settings.path, "reviews.path")
    header = _first_line(spark, min(files))
    found = _header(header, plain(min(files)))
    fields = _fields(settings, found, plain(min(files)))
    names = [f"c{i}" for i in range(len(found))]
    schema = ", ".join(f"{name} string" for name in [*names, "corrupt"])
    options = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": "corrupt", "escape": '"'}
    options["maxColumns"] = str(MAX_LINE_BYTES + 1)  # of any line: a longer one is an exception, whatever the mode
    lines = lines.withColumn("parsed", F.when(F.col("fault").isNull(), F.from_csv("value", schema, options)))
    quotes = F.length("value") - F.length(F.replace("value", F.lit('"'), F.lit("")))
    fault = (
        F.when(F.col("value") == header, F.lit(REPEATED_HEADER))
        .when(F.col("value").contains('"') & (quotes % 2 == 1), F.lit("quotes not closed"))
        .when(F.col("parsed.corrupt").isNotNull(), F.lit("wrong number of fields"))
    )  # fmt: skip
    lines = lines.withColumn("fault", F.coalesce("fault", fault))
    return _judged(
        lines, fields, lambda name: F.col(f"parsed.{names[found.index(name)]}"), settings.implicit_rating
    ), files


def _first_line(spark: SparkSession, file: str) -> str:
    """Of a CSV file, by its URI. Raises InputMissing when there is none, DataError when it is not UTF-8."""
    lines = spark.read.option("lineSep", "\n").text(literal(unquote(file)))  # a URI is encoded
    first = lines.select("value", F.is_valid_utf8("value").alias("is_text")).head()
    if first is None:
        raise InputMissing(f"reviews: {plain(file)} is empty; fetch it again or take it away")
    if not first.is_text:  # it would not be found again among the lines
        raise DataError(f"the header of {plain(file)} is not UTF-8; convert the file")
    return str(first.value).rstrip("\r")


def _header(line: str, file: str) -> list[str]:
    """The column names of a CSV file. Raises DataError for a line that cannot be a header."""
    try:
        names = next(csv.reader([line]), [])
    except csv.Error as error:
        raise DataError(f"{file}: the first line is not a header line of CSV: {error}") from None
    if len(names) > _MAX_COLUMNS:
        raise DataError(
            f"{file}: the first line names {len(names):,} columns, more than {_MAX_COLUMNS:,}; leave some out"
        )
    return names


def _parquet(spark: SparkSession, settings: Reviews) -> tuple[DataFrame, list[str]]:
    reader = spark.read.option("ignoreCorruptFiles", "false")
    frame, files = _all_folders(reader, settings.path)
    fields = _fields(settings, frame.columns, plain(min(files)))
    used = {name: frame.schema[name].dataType for name in fields if name}
    for name in (fields.user, fields.product):
        if not _may_be_id(used[name]):
            raise DataError(
                f"{plain(min(files))}: column {name} is {used[name].simpleString()}; ids are text or integers"
            )
    check_types(files, used)
    rows = frame.select(
        F.col("_metadata.file_path").alias("source"),
        F.lit(0).cast("long").alias("block"),
        F.col("_metadata.row_index").alias("position"),
        F.lit(None).cast("string").alias("fault"),
        F.to_json(F.struct(*[F.col(f"`{name}`") for name in used])).alias("value"),
        *[F.col(f"`{name}`").cast("string").alias(f"c{i}") for i, name in enumerate(used)],  # not "value", say
    )
    place = {name: f"c{i}" for i, name in enumerate(used)}
    return _judged(rows, fields, lambda name: F.col(place[name]), settings.implicit_rating), files


def _may_be_id(kind: T.DataType) -> bool:
    """Text and integers, also those of 64 bits without a sign and of databases that know decimal numbers alone."""
    return isinstance(kind, T.StringType | T.IntegralType) or (isinstance(kind, T.DecimalType) and kind.scale == 0)


def _all_folders(reader: DataFrameReader, path: str) -> tuple[DataFrame, list[str]]:
    """All Parquet files below ``path``, and their URIs; if all are in folders like ``day=5``, these are columns.

    Folders that do not agree, as ``y=1`` beside ``y=2/m=2``, are folders and no more: all rows are read either way.
    """
    frame, files = opened(lambda p: reader.parquet(p, recursiveFileLookup=True), path, "reviews.path")
    if all(file.rpartition("/")[0].count("=") > path.count("=") for file in files):
        try:
            partitioned, found = opened(lambda p: reader.parquet(p, recursiveFileLookup=False), path, "reviews.path")
        except SparkRuntimeException as error:
            if "[CONFLICTING_" in str(error):
                return frame, files
            raise
        if len(found) == len(files):  # Spark leaves out what it takes for no partition
            return partitioned, found
    return frame, files


def _fields(settings: Reviews, found: Sequence[str], file: str) -> Fields:
    """The configured columns. Raises DataError when one of them is not, or not only once, among those ``found``."""
    fields = Fields(settings.user_column, settings.product_column, settings.rating_column, settings.timestamp_column)
    for key, name in zip(fields._fields, fields, strict=True):
        if found.count(name) != 1 and (name or key in ("user", "product")):
            what = "missing" if name not in found else "there more than once"
            raise DataError(f"{file}: column {name!r} (reviews.{key}_column) is {what}; found {', '.join(found)}")
    return fields


def _judged(
    texts: DataFrame, fields: Fields, text: Callable[[str], Column], implicit_rating: float = 1.0, ticks: int = 1,
    json: bool = False,
) -> DataFrame:  # fmt: skip
    """Turn the texts of ``fields`` into typed columns, and say what is wrong with those that cannot be.

    ``texts`` has NUMBERING, ``value`` and ``fault``; ``text(name)`` is the column with the text of a field. Numbers in a
    timestamp count ``ticks`` a second. In ``json`` an id must not be a list or an object, and no number is a date.
    """
    given = texts.select(
        *NUMBERING, "value", "fault",
        text(fields.user).alias("user_id"),
        text(fields.product).alias("product_id"),
        (text(fields.rating) if fields.rating else F.lit(str(implicit_rating))).alias("rating_text"),
        (text(fields.timestamp) if fields.timestamp else F.lit("0")).alias("time_text"),
    )  # fmt: skip
    # from_json gives a bare NaN as "NaN", quoted
    number = F.expr("""try_cast(trim(BOTH '"' FROM rating_text) AS double)""")
    typed = given.withColumn("rating", number).withColumn("seconds", _seconds(ticks, json))
    typed = typed.withColumn("timestamp", F.when(F.col("seconds").between(0, _LAST_SECOND), F.floor("seconds")))
    reason = F.coalesce(
        F.col("fault"),
        id_fault("user_id", fields.user, json),
        id_fault("product_id", fields.product, json),
        F.when(F.coalesce("rating_text", F.lit("")) == "", F.lit(f"{fields.rating} missing"))
        .when(F.col("rating").isNull(), F.lit(f"{fields.rating} is not a number"))
        .when(F.abs("rating") > _LARGEST_FLOAT, F.lit(f"{fields.rating} is not finite")),  # Spark: NaN is the largest
        F.when(F.coalesce("time_text", F.lit("")) == "", F.lit(f"{fields.timestamp} missing"))
        .when(F.col("timestamp").isNull(), F.lit(f"{fields.timestamp} unreadable")),
    )  # fmt: skip
    return typed.withColumn("reason", reason).select(
        *NUMBERING, "user_id", "product_id", F.col("rating").cast("float").alias("rating"), "timestamp", "reason",
        F.when(F.col("reason").isNotNull(), F.substring("value", 1, RAW_CHARACTERS)).alias("raw"),
    )  # fmt: skip


def _seconds(ticks: int, json: bool) -> Column:
    """``time_text`` (a number, a date, a date and time) as seconds since 1970 UTC; null when it is none of them.

    Unless in ``json``, eight digits between _DAYS are a day, and none if there is no such day: as seconds they would all
    be of August 1970, before everything else.
    """
    number = F.expr("try_cast(time_text AS double)")  # 20180920.0 where a column has gaps
    digits = F.when(number.between(*_DAYS) & (number == F.floor(number)), F.floor(number).cast("string"))
    day = F.unix_seconds(F.try_to_timestamp(digits, F.lit("yyyyMMdd"))).cast("double")
    seconds = number / ticks if json else F.when(digits.isNotNull(), day).otherwise(number / ticks)
    # Spark reads a bare time as one of today, hence the year.
    date = F.when(F.col("time_text").rlike(r"^\d{4}-\d"), F.unix_seconds(F.expr("try_cast(time_text AS timestamp)")))
    return F.coalesce(seconds, date.cast("double"))
