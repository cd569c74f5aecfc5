"""CSV and Parquet of transactions with configured column names."""

import re
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from vasg.config import Reviews
from vasg.errors import DataError
from vasg.ingest.reviews import read_reviews

NAMES = {"user_column": "user", "product_column": "product"}
TIMED = NAMES | {"rating_column": "stars", "timestamp_column": "when"}


def parse(spark: SparkSession, path: Path, **options: Any) -> tuple[list[Any], list[Any], int]:
    """Rows, rejects (line, reason) and number of records; both sorted."""
    with read_reviews(spark, Reviews(path=str(path), **({"max_bad_fraction": 1.0} | options))) as found:
        rows = sorted(tuple(row) for row in found.rows.collect())
        rejects = sorted((row.line, row.reason) for row in found.rejects.collect())
        assert found.bad == Counter(reason for _, reason in rejects)
        return rows, rejects, found.total


def test_csv(spark: SparkSession, tmp_path: Path) -> None:
    lines = [
        'when,"user",extra,product,stars',
        '2018-09-20,u1,"a, ""quoted"" comma",0493995001,4.5',
        "2018-09-20 12:30:00,u1,,0493995001,4",
        "2018-09-20T12:30:00+02:00,u1,,p2,1",
        "1537401600,u1,,p3,1",
        "1537401600.9,u1,,p4,1",
        "",
        "2018-09-20,u1,,p5",
        "2018-09-20,u1,,p5,1,1",
        '2018-09-20,u1,"two',
        'lines",p5,1',
        "2018-13-45,u1,,p5,1",
        ",u1,,p5,1",
        "0,,,p5,1",
        "0,u1,,,1",
        '0,u1,,"",1',
        "0,u1,,p5,",
        "0,u1,,p5,NaN",
        "0,u1,,p5,many",
        'when,"user",extra,product,stars',
        "0,u1," + "," * 30_000,
    ]
    path = tmp_path / "t.csv"
    path.write_text("\r\n".join(lines) + "\r\n")
    day = 1537401600
    rows, rejects, total = parse(spark, path, **TIMED)
    assert rows == [
        ("u1", "0493995001", 4.0, day + 45000), ("u1", "0493995001", 4.5, day), ("u1", "p2", 1.0, day + 37800),
        ("u1", "p3", 1.0, day), ("u1", "p4", 1.0, day),
    ]  # fmt: skip
    assert rejects == [
        (7, "blank line"), (8, "wrong number of fields"), (9, "wrong number of fields"), (10, "quotes not closed"),
        (11, "quotes not closed"), (12, "when unreadable"), (13, "when missing"), (14, "user missing"),
        (15, "product missing"), (16, "product missing"), (17, "stars missing"), (18, "stars is not finite"),
        (19, "stars is not a number"), (20, "repeated header line"), (21, "wrong number of fields"),
    ]  # fmt: skip
    assert total == len(lines) - 1


def test_csv_without_rating_and_timestamp(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\ufeffproduct,user\np,u\n")
    assert parse(spark, tmp_path / "t.csv", implicit_rating=2.5, **NAMES)[0] == [("u", "p", 2.5, 0)]


def test_csv_folder_needs_one_header(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user,product\nu,p\n")
    (tmp_path / "b.csv").write_text("user,product\nu,q\n,\n")
    rows, rejects, total = parse(spark, tmp_path, **NAMES)
    assert rows == [("u", "p", 1.0, 0), ("u", "q", 1.0, 0)]
    assert rejects == [(3, "user missing")]
    assert total == 3
    (tmp_path / "c.csv").write_text("product,user\np,u\n")
    with pytest.raises(DataError, match=r"first line of .*c\.csv is not the header line of .*a\.csv"):
        parse(spark, tmp_path, **NAMES)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_missing_column(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"t.{kind}"
    if kind == "csv":
        path.write_text("user,prodct\nu,p\n")
    else:
        pq.write_table(pa.table({"user": ["u"], "prodct": ["p"]}), path)
    with pytest.raises(DataError) as error:
        parse(spark, path, format=kind, **NAMES)
    for part in (str(path), "'product'", "reviews.product_column", "user, prodct"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("user,pro\rduct", "not a header line of CSV: new-line character"),
        ("user,product," + "x" * 200_000, "not a header line of CSV: field larger"),
        ("user,product" + ",x" * 20_000, "names 20,002 columns, more than 1,000"),
    ],
)
def test_what_is_no_header(spark: SparkSession, tmp_path: Path, header: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(f"{header}\nu,p\n", newline="")
    with pytest.raises(DataError, match=message):
        parse(spark, tmp_path / "t.csv", **NAMES)


@pytest.mark.parametrize("where", ["footer", "pages"])
def test_damaged_parquet_is_bad_data(spark: SparkSession, tmp_path: Path, where: str) -> None:
    path = tmp_path / "t.parquet"
    names = [f"{i:05d}" for i in range(300)]
    pq.write_table(pa.table({"user": ["u"] * 300, "product": names}), path, compression="none")
    content = path.read_bytes()
    footer = int.from_bytes(content[-8:-4], "little")
    at = len(content) - 8 - footer if where == "footer" else content.index(b"00000")
    path.write_bytes(content[:at] + b"\xff" * 100 + content[at + 100 :])
    with pytest.raises(DataError, match=re.escape(f"{path} cannot be read as Parquet: damaged")):
        parse(spark, path, format="parquet", **NAMES)


TIMES = [
    pa.array([1537401600, None], pa.int64()),
    pa.array([1537401600.0, None], pa.float64()),
    pa.array([date(2018, 9, 20), None], pa.date32()),
    pa.array([datetime(2018, 9, 20, tzinfo=UTC), None], pa.timestamp("us", tz="UTC")),
    pa.array([datetime(2018, 9, 20), None], pa.timestamp("ms")),
    pa.array(["2018-09-20", None], pa.string()),
]


@pytest.mark.parametrize("times", TIMES, ids=lambda times: str(times.type))
def test_parquet_times(spark: SparkSession, tmp_path: Path, times: pa.Array) -> None:
    table = pa.table(
        {"user": pa.array([7, 8]), "product": ["007", "008"], "stars": pa.array([4, 5], pa.int8()), "when": times}
    )
    pq.write_table(table, tmp_path / "t.parquet")
    rows, rejects, total = parse(spark, tmp_path / "t.parquet", format="parquet", **TIMED)
    assert rows == [("7", "007", 4.0, 1537401600)]
    assert rejects == [(2, "when missing")]
    assert total == 2


def test_parquet_rejects_are_numbered_across_row_groups(spark: SparkSession, tmp_path: Path) -> None:
    users = [None if i % 10 == 9 else f"u{i}" for i in range(100)]
    stars = [float("nan") if i == 50 else 1.0 for i in range(100)]
    pq.write_table(
        pa.table({"user": users, "product": ["p"] * 100, "stars": stars}), tmp_path / "t.parquet", row_group_size=7
    )
    options = NAMES | {"rating_column": "stars", "format": "parquet"}
    rows, rejects, _ = parse(spark, tmp_path / "t.parquet", **options)
    assert len(rows) == 89
    assert rejects == sorted([(i, "user missing") for i in range(10, 101, 10)] + [(51, "stars is not finite")])
    with read_reviews(spark, Reviews(path=str(tmp_path), max_bad_fraction=1.0, **options)) as found:
        assert found.rejects.where("line = 10").head().raw == '{"product":"p","stars":1.0}'


def test_parquet_ids_must_not_be_fractions(spark: SparkSession, tmp_path: Path) -> None:
    pq.write_table(pa.table({"user": [1.0], "product": ["p"]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="column user is double"):
        parse(spark, tmp_path / "t.parquet", format="parquet", **NAMES)
