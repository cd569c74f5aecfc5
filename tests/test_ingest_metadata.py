"""Product metadata: who belongs to a category, and lines that must not be parsed."""

import ast
import json
import resource
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from vasg.config import Reviews
from vasg.errors import ConfigurationError
from vasg.ingest.lines import MAX_LINE_BYTES
from vasg.ingest.metadata import MAX_DEPTH, parse_literal, read_metadata


def parse(spark: SparkSession, path: Path, kind: str, category: str) -> tuple[dict[str, bool], list[Any]]:
    """Products with their membership, and rejects (line, reason)."""
    options: Any = {"metadata": str(path), "format": kind, "category": category, "max_bad_fraction": 1.0}
    with read_metadata(spark, Reviews(**options)) as found:
        rejects = sorted((row.line, row.reason) for row in found.rejects.collect())
        assert found.total == found.rows.count() + len(rejects)
        return {row.product_id: row.in_category for row in found.rows.collect()}, rejects


def test_2014_lines(spark: SparkSession, tmp_path: Path) -> None:
    lines = [
        "{'asin': 'A', 'categories': [['Clothing', 'Women'], ['Shoes']], 'title': 'It\\'s \\d'}",
        "{'asin': 'B', 'categories': [['Clothing', 'Women & Men']]}",
        "{'asin': 'C'}",
        "{'asin': 'D', 'categories': [[]]}",
        "",
        "__import__('os').system('touch /tmp/hacked')",
        "{'asin': 'E', 'categories': [['Women']]",
        "['Women']",
        "{'categories': [['Women']]}",
        "{'asin': 17, 'categories': [['Women']]}",
        "{'asin': 'F', 'categories': ['Women']}",
        "{'asin': 'G', 'title': '" + "x" * 4_000_000 + "'}",
        "{'asin': 'H', 'x': " + "[" * 10_000 + "]" * 10_000 + "}",
        "{'asin': 'I', 'x': '" + "[" * 10_000 + "', 'categories': [['Women']]}",
        "[" * 10_000,
        "-" * 100_000 + "1",
        "+".join("1" * 100_000),
        "{'asin': 'J', 'categories': [['Women']]}",
        "{'asin': '\\ud800', 'categories': [['Women']]}",
    ]
    (tmp_path / "meta.json").write_text("\n".join(lines))
    products, rejects = parse(spark, tmp_path / "meta.json", "amazon_2014", "Women")
    assert products == {"A": True, "B": False, "C": False, "D": False, "I": True, "J": True}
    assert rejects == [
        (5, "blank line"), (6, "not a Python literal"), (7, "not a Python literal"), (8, "not a dictionary"),
        (9, "asin missing"), (10, "asin is not text"), (11, "categories is not a list of lists"), (12, "line too long"),
        (13, "nested too deep"), (15, "nested too deep"), (16, "not a Python literal"), (17, "not a Python literal"),
        (19, "asin is not UTF-8"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "name", "field"), [("amazon_2018", "asin", "category"), ("amazon_2023", "parent_asin", "categories")]
)
def test_json_lines(spark: SparkSession, tmp_path: Path, kind: str, name: str, field: str) -> None:
    lines = [
        json.dumps({name: "A", field: ["Clothing", "Women"], "description": ["x"]}),
        json.dumps({name: "B", field: ["Women's"]}),
        json.dumps({name: "C", field: []}),
        json.dumps({name: "D"}),
        json.dumps({name: "E", field: None}),
        json.dumps({name: "F", field: "Women"}),
        json.dumps({name: "G", field: {"Women": 1}}),
        json.dumps({field: ["Women"]}),
        "{'x': 1}",
        json.dumps({name: "H", field: [None, "Women"]}),
    ]
    (tmp_path / "meta.json").write_text("\n".join(lines))
    products, rejects = parse(spark, tmp_path / "meta.json", kind, "Women")
    assert products == {"A": True, "B": False, "C": False, "D": False, "E": False, "H": True}
    assert rejects == [
        (6, f"{field} is not a list of names"), (7, f"{field} is not a list of names"), (8, f"{name} missing"),
        (9, "not a JSON object"),
    ]  # fmt: skip


@pytest.mark.fault
@pytest.mark.parametrize(
    "hostile",
    ["[" * MAX_LINE_BYTES, "{1:" * 80_000, "'[" * 100_000, '"' + "\\" * 200_000, "-" * 200_000, "[]," * 80_000, "f" * 200_000,
     "1" * 200_000, "(" * 40 + "1" + ")" * 40, "lambda: " * 30_000, "not " * 60_000, "a." * 100_000, "'a'" * 60_000, "\0"],
)  # fmt: skip
def test_hostile_literals_are_refused(hostile: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fault, _, _ = parse_literal(hostile, "Women")
    assert fault in ("nested too deep", "not a Python literal", "not a dictionary")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


VALUES = st.recursive(
    st.one_of(st.text(), st.integers(), st.none()), lambda v: st.lists(v) | st.tuples(v) | st.dictionaries(st.text(), v)
)


@given(st.dictionaries(st.text(), VALUES), st.text(), st.lists(st.lists(st.text())), st.text())
def test_literals_are_what_python_reads(
    extra: dict[str, Any], name: str, categories: list[list[str]], category: str
) -> None:
    line = repr(extra | {"asin": name, "categories": categories})
    product = ast.literal_eval(line)
    assert parse_literal(line, category) == (
        None,
        product["asin"],
        any(category in path for path in product["categories"]),
    )


@given(st.integers(1, 2 * MAX_DEPTH), st.text(alphabet="[](){}'\"\\a"))
def test_depth_ignores_strings(depth: int, text: str) -> None:
    nested: Any = text
    for _ in range(depth):
        nested = [nested, text]
    fault = parse_literal(repr({"asin": "A", "x": nested}), "Women")[0]
    assert (fault == "nested too deep") == (depth + 1 > MAX_DEPTH)


def test_only_amazon_has_metadata(spark: SparkSession) -> None:
    with pytest.raises(ConfigurationError, match="amazon"):
        read_metadata(spark, Reviews(format="csv", category="Women"))
    with pytest.raises(ConfigurationError, match=r"reviews\.metadata"):
        read_metadata(spark, Reviews(format="amazon_2018", category="Women"))
