"""Amazon's product metadata: which products belong to a category."""

import ast
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from vasg.config import Reviews
from vasg.errors import ConfigurationError
from vasg.ingest.lines import NUMBERING, id_fault, json_fields, read_lines
from vasg.ingest.rejects import RAW_CHARACTERS, Records, separated

MAX_DEPTH = 50  # brackets within brackets; real lines have three
_STRINGS = re.compile(r"""'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+\"""")
_JSON_FIELDS = {"amazon_2018": ("asin", "category"), "amazon_2023": ("parent_asin", "categories")}
_LITERALS = (
    "source string, block long, position long, value string, fault string, product_id string, in_category boolean"
)


def read_metadata(spark: SparkSession, settings: Reviews) -> AbstractContextManager[Records]:
    """``product_id`` and ``in_category`` of every product that ``settings.metadata`` describes.

    A product is in the category when ``settings.category`` is, letter for letter, one of the elements of its categories
    (2014: of one of its lists of categories). Raises as ``read_reviews`` does, and ConfigurationError for a format that
    has no metadata.
    """
    if settings.format != "amazon_2014" and settings.format not in _JSON_FIELDS:
        raise ConfigurationError(f"reviews.category needs an amazon format; reviews.format is {settings.format}")
    lines, files = read_lines(spark, settings.metadata, "reviews.metadata")
    if settings.format == "amazon_2014":
        name, products = "asin", lines.mapInArrow(_literal_lines(settings.category), _LITERALS)
    else:
        name, field = _JSON_FIELDS[settings.format]
        products = _json_lines(lines, name, field, settings.category)
    reason = F.coalesce(F.col("fault"), id_fault("product_id", name))
    parsed = products.withColumn("reason", reason).select(
        *NUMBERING, "product_id", "in_category", "reason",
        F.when(F.col("reason").isNotNull(), F.substring("value", 1, RAW_CHARACTERS)).alias("raw"),
    )  # fmt: skip
    return separated(parsed, files, "metadata", settings.max_bad_fraction, ("product_id", "in_category"))


def _json_lines(lines: DataFrame, name: str, field: str, category: str) -> DataFrame:
    """2018 and 2023: JSON with one list of category names."""
    elements = F.from_json(field, "array<string>")
    fault = F.when(F.col(field).isNotNull() & elements.isNull(), F.lit(f"{field} is not a list of names"))
    return json_fields(lines, [name, field]).select(
        *NUMBERING, "value", F.coalesce("fault", fault).alias("fault"), F.col(name).alias("product_id"),
        F.coalesce(F.array_contains(elements, category), F.lit(False)).alias("in_category"),
    )  # fmt: skip


def _literal_lines(category: str) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """2014: Python literals, which Spark cannot read, with a list of lists of category names."""

    def parse(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            values, faults = batch.column("value").cast(pa.binary()), batch.column("fault").to_pylist()
            found = [
                (fault, None, None) if fault else parse_literal(value.as_py().decode("utf-8", "replace"), category)
                for value, fault in zip(values, faults, strict=True)
            ]
            columns = [[row[i] for row in found] for i in range(3)]
            yield pa.RecordBatch.from_arrays(
                [batch.column(c) for c in (*NUMBERING, "value")]
                + [pa.array(c, t) for c, t in zip(columns, (pa.string(), pa.string(), pa.bool_()), strict=True)],
                [*NUMBERING, "value", "fault", "product_id", "in_category"],
            )

    return parse


def parse_literal(line: str, category: str) -> tuple[str | None, str | None, bool | None]:
    """(fault, product_id, in_category) of a line of 2014 metadata: a Python dictionary, never evaluated.

    Lines are at most ``MAX_LINE_BYTES`` long; deep ones are refused before they are parsed, because the parser's stack
    and memory grow with the depth.
    """
    if _depth(line) > MAX_DEPTH:
        return "nested too deep", None, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about \d and the like inside descriptions
            product = ast.literal_eval(line.strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return "not a Python literal", None, None
    if not isinstance(product, dict):
        return "not a dictionary", None, None
    name, categories = product.get("asin"), product.get("categories", [])
    if name is not None and not isinstance(name, str):
        return "asin is not text", None, None
    if name and any("\ud800" <= character <= "\udfff" for character in name):  # half of one, written as an escape
        return "asin is not UTF-8", None, None
    if not isinstance(categories, list) or not all(isinstance(path, list) for path in categories):
        return "categories is not a list of lists", None, None
    return None, name, any(category in path for path in categories)


def _depth(line: str) -> int:
    """Deepest nesting of brackets outside strings; an upper bound where there are so few that it cannot matter."""
    few = line.count("[") + line.count("{") + line.count("(")
    if few <= MAX_DEPTH:
        return few
    depth = deepest = 0
    for bracket in re.findall(r"[\[\](){}]", _STRINGS.sub("", line)):
        depth += 1 if bracket in "[{(" else -1
        deepest = max(deepest, depth)
    return deepest
