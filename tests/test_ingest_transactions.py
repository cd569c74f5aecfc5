"""CSV and Parquet of transactions with configured column names."""

import bz2
import gzip
import lzma
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from vasg.config import Reviews
from vasg.errors import DataError, InputMissing
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


@pytest.mark.fault
@pytest.mark.parametrize(
    ("name", "packed", "advice"),
    [
        ("a.gz", gzip.compress, ""), ("a.GZ", gzip.compress, ""), ("a.bz2", bz2.compress, ""),
        ("a.csv", gzip.compress, r"gzip; name it \*\.gz"), ("a.csv", bz2.compress, r"bzip2; name it \*\.bz2"),
        ("a.csv.xz", lzma.compress, "xz; unpack it, or pack it with gzip"),
        ("a.zip", lambda text: b"PK\x03\x04" + text, "zip; unpack it"),
        ("a.lz4", lambda text: b"\x04\x22\x4d\x18" + text, "lz4; unpack it"),
    ],
)  # fmt: skip
def test_packed_files_are_unpacked_or_refused(
    spark: SparkSession, tmp_path: Path, name: str, packed: Callable[[bytes], bytes], advice: str
) -> None:
    path = tmp_path / name
    path.write_bytes(packed(b"user,product\nu,p\n"))
    if advice:
        with pytest.raises(DataError, match=f"^{re.escape(str(path))} is packed by {advice}"):
            parse(spark, path, format="csv", **NAMES)
    else:
        rows, *_ = parse(spark, path, format="csv", **NAMES)
        assert [row[:2] for row in rows] == [("u", "p")]


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


@pytest.mark.usefixtures("another_default")
@pytest.mark.parametrize("name", ["my file", "a#1%20b?ü+", "t[1]{2,3}*"])
def test_any_file_name(spark: SparkSession, tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.csv").write_text("user,product\nu,p\n")
    assert parse(spark, tmp_path, **NAMES)[0] == [("u", "p", 1.0, 0)]


def test_parquet_columns_may_be_called_as_ours_are(spark: SparkSession, tmp_path: Path) -> None:
    columns = {"Source": ["u1", "u2"], "block": ["p1", "p2"], "value": [4.0, 5.0], "position": [7, 8]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    names = dict(zip(("user_column", "product_column", "rating_column", "timestamp_column"), columns, strict=True))
    found = parse(spark, tmp_path / "t.parquet", format="parquet", **names)
    assert found == ([("u1", "p1", 4.0, 7), ("u2", "p2", 5.0, 8)], [], 2)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_ids_in_brackets_are_ids(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"t.{kind}"
    path.write_text("user,product\n{3F2504E0-4F89},[p]\n")
    if kind == "parquet":
        pq.write_table(pa.table({"user": ["{3F2504E0-4F89}"], "product": ["[p]"]}), path)
    assert parse(spark, path, format=kind, **NAMES)[0] == [("{3F2504E0-4F89}", "[p]", 1.0, 0)]


def test_eight_digits_are_a_day_or_unreadable(spark: SparkSession, tmp_path: Path) -> None:
    whens = [
        "20180920",
        "21001231",
        "20181399",
        "20180931",
        "20180900.0",
        "18991231",
        "19691231",
        "2018092",
        "201809200",
        "20180920.0",
        "2.018092E7",
        "20180920.5",
    ]
    (tmp_path / "t.csv").write_text("user,product,when\n" + "".join(f"u{i},p,{when}\n" for i, when in enumerate(whens)))
    rows, rejects, _ = parse(spark, tmp_path / "t.csv", timestamp_column="when", **NAMES)
    assert {user: seconds for user, _, _, seconds in rows} == {
        "u0": 1537401600, "u1": 4133894400, "u5": 18991231, "u7": 2018092, "u8": 201809200, "u9": 1537401600,
        "u10": 1537401600, "u11": 20180920,
    }  # fmt: skip
    # no such day, and before 1970
    assert rejects == [(line, "when unreadable") for line in (4, 5, 6, 8)]


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


def test_a_header_that_is_not_utf8_is_called_so(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("user,product,größe\nu,p,1\n", encoding="latin-1")
    with pytest.raises(DataError, match=r"the header of .*t\.csv is not UTF-8; convert"):
        parse(spark, tmp_path / "t.csv", **NAMES)
    (tmp_path / "t.csv").write_text("user,product,gr\ufffd\nu,p,1\n", encoding="utf-8")  # lost before it came to us
    assert parse(spark, tmp_path / "t.csv", **NAMES)[0] == [("u", "p", 1.0, 0)]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_files_that_spark_skips_are_explained(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    for name in ("_t.csv", ".t.csv"):
        (tmp_path / name).write_text("user,product\nu,p\n")
    for path in (tmp_path, tmp_path / "_t.csv"):
        with pytest.raises(InputMissing, match=r"no file matches .* begin with _ or \. are skipped"):
            parse(spark, path, format=kind, **NAMES)


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


def table(path: Path, **columns: Any) -> Path:
    """A Parquet file with a user and a product, or other ``columns``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"user": ["u"], "product": ["p"]} | columns), path)
    return path


def test_damaged_parquet_is_named(spark: SparkSession, tmp_path: Path) -> None:
    for name in ("a", "b x", "c"):
        path = table(tmp_path / f"{name}.parquet")
    for name in ("b x", "a"):  # Spark takes the columns from a's
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(DataError, match=f"^{re.escape(str(path))} cannot be read as Parquet: damaged"):
            parse(spark, tmp_path, format="parquet", **NAMES)


def test_parquet_whose_types_differ_is_not_called_damaged(spark: SparkSession, tmp_path: Path) -> None:
    table(tmp_path / "a.parquet")
    path = table(tmp_path / "b.parquet", product=[5])
    message = f"^{re.escape(str(path))}: column types differ: product is INT64, elsewhere string"
    with pytest.raises(DataError, match=message):
        parse(spark, tmp_path, format="parquet", **NAMES)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("first", "second", "complaint"),
    [
        (
            pa.array([1], pa.int8()),
            pa.array([65537], pa.int32()),
            "user is integer of 32 bits, but integer of 8 bits in",
        ),
        (
            pa.array([1]),
            pa.array([2**63 + 1], pa.uint64()),
            "user is integer without a sign of 64 bits, but integer of 64 bits",
        ),
        (pa.array([20200101], pa.int32()), pa.array([date(2020, 1, 1)]), "user is date, but integer of 32 bits in"),
        (pa.array([1]), pa.array([5], pa.int8()), ""),
    ],
)
def test_parquet_numbers_of_another_kind_are_not_read_as_other_numbers(
    spark: SparkSession, tmp_path: Path, first: pa.Array, second: pa.Array, complaint: str
) -> None:
    pq.write_table(pa.table({"user": first, "product": ["p"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"user": second, "product": ["p"]}), path := tmp_path / "b.parquet")
    if complaint:
        with pytest.raises(DataError, match=f"^{re.escape(str(path))}: column types differ: {complaint}"):
            parse(spark, tmp_path, format="parquet", **NAMES)
    else:
        assert sorted(row[0] for row in parse(spark, tmp_path, format="parquet", **NAMES)[0]) == ["1", "5"]


@pytest.mark.parametrize(
    ("columns", "named"),
    [({"User": ["v"]}, "user, User"), ({"stars": [{"a": 1, "A": 2}]}, "a")],
)
def test_parquet_columns_that_differ_in_case_alone(
    spark: SparkSession, tmp_path: Path, columns: dict[str, Any], named: str
) -> None:
    table(tmp_path / "a.parquet", **columns)
    with pytest.raises(DataError, match=f"{re.escape(str(tmp_path))}: names of columns .* in case: {named}; rename"):
        parse(spark, tmp_path, format="parquet", **NAMES)


def test_parquet_columns_that_differ_in_case_alone_in_a_later_file(spark: SparkSession, tmp_path: Path) -> None:
    table(tmp_path / "a.parquet")
    path = table(tmp_path / "b.parquet", User=["v"])
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}: names of columns .* in case: user, User; rename"):
        parse(spark, tmp_path, format="parquet", **NAMES)


def test_parquet_types_that_spark_lacks_are_bad_data(spark: SparkSession, tmp_path: Path) -> None:
    path = table(tmp_path / "t.parquet", when=pa.array([datetime(2018, 9, 20)], pa.timestamp("ns")))
    with pytest.raises(DataError) as error:
        parse(spark, path, format="parquet", **NAMES)
    for part in (str(path), "TIMESTAMP(NANOS", 'coerce_timestamps="us"'):
        assert part in str(error.value)


def test_parquet_without_rows_stops_the_run_only_if_there_is_no_other(spark: SparkSession, tmp_path: Path) -> None:
    nothing = pa.array([], pa.string())
    table(tmp_path / "a.parquet", user=nothing, product=nothing)
    with pytest.raises(InputMissing, match=r"a\.parquet is empty"):
        parse(spark, tmp_path, format="parquet", **NAMES)
    table(tmp_path / "b.parquet")
    assert parse(spark, tmp_path, format="parquet", **NAMES) == ([("u", "p", 1.0, 0)], [], 1)


@pytest.mark.parametrize(
    "files", [("a", "2024/b"), ("2023/a", "2024/b"), ("a", "day=1/b"), ("day=1/a", "2024/b"), ("x=1/a", "x=1/2024/b"),
     ("y=1/a", "y=2/m=2/b"), ("x=1/a", "y=1/b"), ("y=1/a", "2024/y=2/b")],
)  # fmt: skip
def test_parquet_in_folders_below(spark: SparkSession, tmp_path: Path, files: tuple[str, str]) -> None:
    for file in files:
        table(tmp_path / "of=1" / f"{file}.parquet", user=[file])
    rows, _, total = parse(spark, tmp_path / "of=1", format="parquet", **NAMES)
    assert total == 2
    assert [user for user, *_ in rows] == sorted(files)


@pytest.mark.parametrize("pattern", ["", "day=*"])
def test_parquet_partitions_are_columns(spark: SparkSession, tmp_path: Path, pattern: str) -> None:
    for day in ("20180920", "2018-09-20"):
        table(tmp_path / f"day={day}" / "sub" / "a.parquet")
    read = {"format": "parquet", "timestamp_column": "day", **NAMES}
    if pattern:  # what the pattern spells out is no column
        with pytest.raises(DataError, match="column 'day'"):
            parse(spark, tmp_path / pattern, **read)
    else:
        assert parse(spark, tmp_path, **read) == ([("u", "p", 1.0, 1537401600)] * 2, [], 2)


TIMES = [
    pa.array([1537401600, None], pa.int64()),
    pa.array([1537401600.0, None], pa.float64()),
    pa.array([20180920, None], pa.int32()),
    pa.array([20180920.0, None], pa.float64()),
    pa.array([date(2018, 9, 20), None], pa.date32()),
    pa.array([datetime(2018, 9, 20, tzinfo=UTC), None], pa.timestamp("us", tz="UTC")),
    pa.array([datetime(2018, 9, 20), None], pa.timestamp("ms")),
    pa.array([datetime(2018, 9, 20, 0, 0, 0, 999), None], pa.timestamp("us")),
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


def test_a_time_of_1970_is_not_taken_for_a_day(spark: SparkSession, tmp_path: Path) -> None:
    table(tmp_path / "t.parquet", when=pa.array([20180920], pa.timestamp("s")).cast(pa.timestamp("us")))
    rows, _, _ = parse(spark, tmp_path / "t.parquet", format="parquet", timestamp_column="when", **NAMES)
    assert rows == [("u", "p", 1.0, 20180920)]


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


WHOLE = [pa.uint64(), pa.int8(), pa.decimal128(38, 0), pa.decimal128(20, 0)]


@pytest.mark.parametrize("kind", WHOLE, ids=str)
def test_parquet_ids_may_be_integers_of_any_type(spark: SparkSession, tmp_path: Path, kind: pa.DataType) -> None:
    pq.write_table(pa.table({"user": pa.array([12, 7]).cast(kind), "product": ["p", "q"]}), tmp_path / "t.parquet")
    rows = parse(spark, tmp_path / "t.parquet", format="parquet", **NAMES)[0]
    assert rows == [("12", "p", 1.0, 0), ("7", "q", 1.0, 0)]


@pytest.mark.fault
def test_parquet_ids_that_are_not_utf8_are_rejected(spark: SparkSession, tmp_path: Path) -> None:
    """Whatever the bytes of an id are, tables that hold it, or tell of it, can be read."""
    users = pa.array([b"M\xfcller", b"Mueller"]).cast(pa.large_binary())
    users = pa.Array.from_buffers(
        pa.large_string(), 2, users.buffers()
    )  # as systems write it that take Latin-1 for UTF-8
    pq.write_table(pa.table({"user": users, "product": ["p", "q"]}), tmp_path / "t.parquet")
    with read_reviews(spark, Reviews(path=str(tmp_path), format="parquet", max_bad_fraction=1.0, **NAMES)) as found:
        assert [row.user_id for row in found.rows.collect()] == ["Mueller"]
        assert [row.reason for row in found.rejects.collect()] == ["user is not UTF-8"]
        found.rejects.write.parquet(f"file://{tmp_path}/rejects")
    assert "ller" in pq.read_table(tmp_path / "rejects").to_pylist()[0]["raw"]


def test_parquet_ids_must_not_be_fractions(spark: SparkSession, tmp_path: Path) -> None:
    pq.write_table(pa.table({"user": [1.0], "product": ["p"]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="column user is double"):
        parse(spark, tmp_path / "t.parquet", format="parquet", **NAMES)
