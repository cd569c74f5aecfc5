"""Amazon reviews: every line becomes a row or a reject with its reason and line, however the file is cut."""

import gzip
import json
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from vasg.config import Reviews
from vasg.errors import ConfigurationError, DataError, InputMissing
from vasg.ingest.lines import MAX_LINE_BYTES
from vasg.ingest.reviews import read_reviews
from vasg.ingest.sources import gzip_damage

FIELDS = ("reviewerID", "asin", "overall", "unixReviewTime")
GOOD = {"reviewerID": "A1", "asin": "0000031887", "overall": 5.0, "unixReviewTime": 1297468800}


@contextmanager
def cut(spark: SparkSession, megabytes: float) -> Iterator[None]:
    """Read files in ranges of so many bytes."""
    keys = {"spark.sql.files.maxPartitionBytes": str(int(megabytes * 2**20)), "spark.sql.files.openCostInBytes": "0"}
    keys["spark.sql.files.minPartitionNum"] = "1"
    before = {key: spark.conf.get(key, None) for key in keys}
    try:
        for key, value in keys.items():
            spark.conf.set(key, value)
        yield
    finally:
        for key, old in before.items():
            spark.conf.unset(key) if old is None else spark.conf.set(key, old)


def parse(
    spark: SparkSession, path: Path, kind: str = "amazon_2014", limit: float = 1.0
) -> tuple[list[Any], list[Any], int, dict[str, int]]:
    """Rows, rejects (source, line, reason), number of lines, bad lines by reason; rows and rejects sorted."""
    with read_reviews(spark, Reviews(path=str(path), format=kind, max_bad_fraction=limit)) as found:  # type: ignore[arg-type]
        rows = sorted(tuple(row) for row in found.rows.collect())
        rejects = sorted((row.source, row.line, row.reason) for row in found.rejects.collect())
        return rows, rejects, found.total, found.bad


def review(**changes: Any) -> str:
    return json.dumps({key: value for key, value in (GOOD | changes).items() if value != "absent"})


CASES = [
    (review(), None),
    ("", "blank line"),
    (" \t ", "blank line"),
    ("[]", "not a JSON object"),
    ("[" + review() + "]", "not a JSON object"),
    (review()[:40], "not a JSON object"),
    (review() + review(), "not a JSON object"),
    (review() + "," + review(), "not a JSON object"),
    (review() + ',"x":1', "not a JSON object"),
    (review() + " x", "not a JSON object"),
    (review() + "]}", "not a JSON object"),
    ("null", "not a JSON object"),
    ("17", "not a JSON object"),
    ("{}", "reviewerID missing"),
    (str(GOOD), "not a JSON object"),  # single quotes
    (review(reviewerID="absent"), "reviewerID missing"),
    (review(reviewerID=None), "reviewerID missing"),
    (review(reviewerID=""), "reviewerID missing"),
    (review(asin="absent"), "asin missing"),
    (review(asin=["a"]), "asin is not text"),
    (review(asin={"a": 1}), "asin is not text"),
    (review(overall="absent"), "overall missing"),
    (review(overall="five"), "overall is not a number"),
    (review(overall=True), "overall is not a number"),
    (review(overall=[5]), "overall is not a number"),
    (review(overall=math.nan), "overall is not finite"),
    (review(overall=math.inf), "overall is not finite"),
    (review(overall=-math.inf), "overall is not finite"),
    (review(overall="NaN"), "overall is not finite"),
    (review(overall=1e300), "overall is not finite"),  # as a float32
    (review(unixReviewTime="absent"), "unixReviewTime missing"),
    (review(unixReviewTime="yesterday"), "unixReviewTime unreadable"),
    (review(unixReviewTime="12:30:00"), "unixReviewTime unreadable"),
    (review(unixReviewTime=1297468800000), "unixReviewTime unreadable"),  # milliseconds
    (review(unixReviewTime=-1), "unixReviewTime unreadable"),
    (review(unixReviewTime=math.nan), "unixReviewTime unreadable"),
    (review(text="x" * MAX_LINE_BYTES), "line too long"),
    ('{"a":' + "[" * 10_000 + "]" * 10_000 + "}", "not a JSON object"),
    (review(text="é" * 20_000), None),
    (review(asin="B1", overall="4"), None),
]


@pytest.mark.fault
@pytest.mark.parametrize("bytes_per_task", [128 * 2**20, 97 * 2**10])
def test_every_kind_of_bad_line(spark: SparkSession, tmp_path: Path, bytes_per_task: int) -> None:
    path = tmp_path / "a file+more.json"
    path.write_text("\n".join(line for line, _ in CASES * 3), encoding="utf-8")  # no newline at the end
    with cut(spark, bytes_per_task / 2**20):
        rows, rejects, total, bad = parse(spark, path)
    expected = [(str(path), i + 1, reason) for i, (_, reason) in enumerate(CASES * 3) if reason]
    assert rejects == expected
    assert total == 3 * len(CASES)
    assert bad == Counter(reason for *_, reason in expected)
    assert rows == sorted(3 * [("A1", "0000031887", 5.0, 1297468800)] * 2 + 3 * [("A1", "B1", 4.0, 1297468800)])


def test_raw_is_short_and_valid_text(spark: SparkSession, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    bad_utf8 = review(asin="XX").encode().replace(b"XX", b"\xff\xfe")
    path.write_bytes(b"\n".join([bad_utf8, b"\xff" * 3000, review().encode()]) + b"\n")
    with read_reviews(spark, Reviews(path=str(path), format="amazon_2014", max_bad_fraction=1.0)) as found:
        rejects = {row.line: (row.reason, row.raw) for row in found.rejects.collect()}
    assert rejects[1][0] == "asin is not UTF-8"
    assert "\ufffd\ufffd" in rejects[1][1]
    assert rejects[2] == ("not a JSON object", "\ufffd" * 1000)


def test_folder_of_plain_and_compressed_files_with_carriage_returns(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + f"{review(asin='P1')}\r\n\r\n{review(asin='P2')}\r\n".encode())
    with gzip.open(tmp_path / "sub" / "b.jsonl.gz", "wt") as file:
        file.write(f"{review(asin='P3')}\n[]\n")
    for path in (tmp_path, tmp_path / "*"):
        rows, rejects, total, _ = parse(spark, path)
        assert [row[1] for row in rows] == ["P1", "P2", "P3"]
        assert total == 5
        assert rejects == [
            (str(tmp_path / "a.json"), 2, "blank line"),
            (str(tmp_path / "sub" / "b.jsonl.gz"), 2, "not a JSON object"),
        ]


def test_2023_counts_milliseconds_and_falls_back_to_asin(spark: SparkSession, tmp_path: Path) -> None:
    line = {"rating": 4.0, "asin": "V1", "parent_asin": "P1", "user_id": "U1", "timestamp": 1588687728923}
    lines = [line, line | {"parent_asin": None}, line | {"parent_asin": None, "asin": None}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    rows, rejects, _, _ = parse(spark, tmp_path / "a.jsonl", "amazon_2023")
    assert rows == [("U1", "P1", 4.0, 1588687728), ("U1", "V1", 4.0, 1588687728)]
    assert [reject[1:] for reject in rejects] == [(3, "parent_asin missing")]


@pytest.mark.fault
def test_limit_names_counts_and_places(spark: SparkSession, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("\n".join([review()] * 98 + ["[]", review(overall="x")]))
    with pytest.raises(DataError) as error:
        parse(spark, path, limit=0.019)
    message = str(error.value)
    for part in ("2 of 100", "0.019", "not a JSON object 1", "overall is not a number 1", f"{path}:99", f"{path}:100"):
        assert part in message
    rows, rejects, _, _ = parse(spark, path, limit=0.02)
    assert (len(rows), len(rejects)) == (98, 2)


@pytest.mark.fault
def test_nothing_to_read(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for missing in ("absent.json", "absent*.json", "folder"):
        with pytest.raises(InputMissing, match=missing.replace("*", r"\*")):
            parse(spark, tmp_path / missing)
    (tmp_path / "folder" / "full.json").write_text(review())
    (tmp_path / "folder" / "empty.json").touch()
    with pytest.raises(InputMissing, match=r"empty\.json is empty"):
        parse(spark, tmp_path / "folder")
    with pytest.raises(ConfigurationError, match=r"reviews\.path"):
        read_reviews(spark, Reviews(path="", format="amazon_2014"))


def _gzip(path: Path, lines: int) -> bytes:
    order = np.random.default_rng(0).permutation(lines)
    content = gzip.compress("\n".join(review(asin=f"P{i}") for i in order).encode())
    path.write_bytes(content)
    return content


@pytest.mark.fault
def test_truncated_gzip_names_file_and_byte(spark: SparkSession, tmp_path: Path) -> None:
    path = tmp_path / "re views.json.gz"
    content = _gzip(path, 20_000)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError) as error:
        parse(spark, path)
    assert f"{path} is damaged at byte {len(content) // 2:,}" in str(error.value)
    assert "truncated" in str(error.value)


@pytest.mark.fault
def test_damage_in_a_gzip_file(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    content = _gzip(path, 50_000)
    assert gzip_damage(path) == ""
    path.write_bytes(content + content)
    assert gzip_damage(path) == ""
    path.write_bytes(content + content[:100])
    assert gzip_damage(path).startswith(f"at byte {len(content) + 100:,}: it ends inside")
    path.write_bytes(content[:-8] + b"\0\0\0\0" + content[-4:])  # checksum
    assert f"at byte {len(content) - 5:,} of {len(content):,}" in gzip_damage(path)
    path.write_bytes(b"not gzip at all")
    assert gzip_damage(path).startswith("at byte 1 of 15")


# ---- against json.loads ----


def oracle(line: str) -> tuple[Any, ...] | str:
    """The row of a line, or the reason why it has none: one line at a time, with Python's own parser."""
    if len(line.encode()) > MAX_LINE_BYTES:
        return "line too long"
    if not line.strip(" \t\r"):
        return "blank line"
    try:
        record = json.loads(line)
    except ValueError:
        return "not a JSON object"
    if not isinstance(record, dict):
        return "not a JSON object"
    texts = {}
    for name in FIELDS:
        value = record.get(name)
        texts[name] = value if isinstance(value, str) or value is None else json.dumps(value)
    for name in FIELDS[:2]:
        if not texts[name]:
            return f"{name} missing"
        if texts[name].startswith(("[", "{")):
            return f"{name} is not text"
    numbers = []
    for name, wrong in zip(FIELDS[2:], ("is not a number", "unreadable"), strict=True):
        if not texts[name]:
            return f"{name} missing"
        try:
            numbers.append(float(texts[name]))
        except ValueError:
            return f"{name} {wrong}"
        if name == "overall" and not abs(numbers[0]) <= np.finfo(np.float32).max:
            return "overall is not finite"
    if not 0 <= numbers[1] <= 253402300799:
        return "unixReviewTime unreadable"
    return texts["reviewerID"], texts["asin"], float(np.float32(numbers[0])), math.floor(numbers[1])


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\n\ufeff\ufffd"), max_size=12)
IDS = st.one_of(TEXT, st.integers(-5, 5), st.sampled_from([None, "", [], ["x"], {}, {"k": "v"}, "[x", True, "A1"]))
NUMBERS = st.one_of(
    st.floats(width=32), st.integers(-10, 10**12), st.integers(0, 2 * 10**9),
    st.sampled_from([None, "", "five", "4.5", True, [], {}, math.nan, math.inf, 1e39, 10**30]),
)  # fmt: skip
RECORDS = st.fixed_dictionaries(
    {}, optional={"reviewerID": IDS, "asin": IDS, "overall": NUMBERS, "unixReviewTime": NUMBERS, "text": TEXT, "x": IDS}
)
MOSTLY = st.builds(lambda changes: GOOD | changes, RECORDS)
WHOLE = st.builds(
    lambda record, ascii: json.dumps(record, ensure_ascii=ascii), st.one_of(RECORDS, MOSTLY), st.booleans()
)
LINES = st.one_of(
    WHOLE, WHOLE, WHOLE, TEXT, st.just(" \r"),
    st.builds(lambda line, n: line[:n], WHOLE, st.integers(0, 60)),
    st.builds(lambda a, b: a + b, WHOLE, st.one_of(TEXT, WHOLE)),
    st.builds(lambda a, b: f"[{a},{b}]", WHOLE, WHOLE),
)  # fmt: skip


@settings(
    max_examples=4, phases=[Phase.explicit, Phase.generate], deadline=None, suppress_health_check=list(HealthCheck)
)
@given(lines=st.lists(LINES, min_size=150, max_size=300), cuts=st.integers(1, 6))
def test_same_as_json_loads(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, lines: list[str], cuts: int
) -> None:
    path = tmp_path_factory.mktemp("oracle") / "a.json"
    path.write_bytes("\n".join([*lines, review()]).encode())
    expected = [oracle(line.rstrip("\r")) for line in [*lines, review()]]
    with cut(spark, path.stat().st_size / cuts / 2**20):
        rows, rejects, total, _ = parse(spark, path)
    assert total == len(expected)
    assert rejects == [(str(path), i + 1, found) for i, found in enumerate(expected) if isinstance(found, str)]
    assert rows == sorted(found for found in expected if not isinstance(found, str))
