"""Text inputs as numbered lines, and JSON lines as text fields."""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from vasg.ingest.rejects import RAW_CHARACTERS
from vasg.ingest.sources import opened, refuse_packed

MAX_LINE_BYTES = 256 * 1024  # a longer line is rejected before anything parses it
NUMBERING = ("source", "block", "position")

_JSON = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": "corrupt", "allowSingleQuotes": "false"}


def read_lines(spark: SparkSession, path: str, setting: str) -> tuple[DataFrame, list[str]]:
    """Every line of the files as (NUMBERING, ``value``, ``fault``), and the files' URIs.

    ``fault`` is the reason why a line cannot be parsed at all, null for the others; ``value`` is then shortened. Lines
    end in \\n or \\r\\n; blank ones are there too. Raises InputMissing when nothing matches ``path``, DataError for a
    packed file that Spark does not unpack.
    """
    reader = (
        spark.read.option("lineSep", "\n").option("recursiveFileLookup", "true").option("ignoreCorruptFiles", "false")
    )
    lines, files = opened(reader.text, path, setting)
    refuse_packed(files)
    # Spark's trim of given characters is slow on long lines: only look closer at those that begin or end with one.
    begins_blank = F.substring("value", 1, 1).isin("", " ", "\t", "\r")
    fault = F.when(F.octet_length("value") > MAX_LINE_BYTES, F.lit("line too long")).when(
        begins_blank & F.expr(r"trim(BOTH ' \t\r' FROM value) = ''"), F.lit("blank line")
    )
    unended = F.when(F.col("value").endswith("\r"), F.expr(r"trim(TRAILING '\r' FROM value)")).otherwise(F.col("value"))
    numbered = lines.select(
        F.col("_metadata.file_path").alias("source"),
        F.col("_metadata.file_block_start").alias("block"),
        F.monotonically_increasing_id().alias("position"),
        unended.alias("value"),
        fault.alias("fault"),
    )
    short = F.when(F.col("fault").isNull(), F.col("value")).otherwise(F.substring("value", 1, RAW_CHARACTERS))
    return numbered.withColumn("value", short), files


def json_fields(lines: DataFrame, fields: Sequence[str]) -> DataFrame:
    """Add the top-level ``fields`` of each line's JSON object, as text; null where missing or null.

    A line that is not exactly one JSON object gets the fault "not a JSON object". Spark stops reading at the end of the
    first value, so the line is parsed as the only element of a list in an object of our own, and both must be complete.
    """
    wrapped = F.concat(F.lit('{"lines":['), F.col("value"), F.lit('],"whole":1}'))
    names = ", ".join(f"`{field}`: string" for field in fields)
    parsed = F.from_json(wrapped, f"lines array<struct<{names}>>, whole int, corrupt string", _JSON)
    lines = lines.withColumn("parsed", F.when(F.col("fault").isNull(), parsed))
    lines = lines.withColumn("object", F.get("parsed.lines", 0))
    whole = F.col("parsed.corrupt").isNull() & (F.col("parsed.whole") == 1) & (F.size("parsed.lines") == 1)
    is_object = F.coalesce(whole & F.col("object").isNotNull(), F.lit(False))
    return lines.select(
        *NUMBERING, "value",
        F.coalesce("fault", F.when(~is_object, F.lit("not a JSON object"))).alias("fault"),
        *[F.col("object").getField(field).alias(field) for field in fields],
    )  # fmt: skip


def id_fault(column: str, name: str, json: bool = True) -> Column:
    """Why the text in ``column``, called ``name`` in the source, cannot be an id; null when it can.

    In ``json``, a list or an object has become text; in other sources {3F25-...} is an id like any other.
    """
    value = F.col(column)
    nested = (value.startswith("{") | value.startswith("[")) & F.lit(json)
    return (
        F.when(value.isNull() | (value == ""), F.lit(f"{name} missing"))
        .when(nested, F.lit(f"{name} is not text"))
        .when(value.contains("\ufffd") | ~F.is_valid_utf8(value), F.lit(f"{name} is not UTF-8"))  # text files: the former
    )  # fmt: skip
