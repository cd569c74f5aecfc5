"""Whatever bytes come in, a reader gives rows and counted rejects or one of our errors, and never anything else.

About a minute on two cores, always with the same inputs; VASG_FUZZ=10 tries ten times as many, others each time.
"""

import gzip
import io
import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from test_features_encoders import noise, saved

from vasg.command_line import complain
from vasg.config import Config, Features, Reviews
from vasg.config_file import load
from vasg.features.pictures import SIDE, PictureError, decode
from vasg.ingest.feature_file import ID_BYTES, feature_file, read_ids
from vasg.ingest.metadata import parse_literal, read_metadata
from vasg.ingest.rejects import Records
from vasg.ingest.reviews import read_reviews

pytestmark = pytest.mark.fault
ROOT = Path(__file__).resolve().parents[1]
MORE = int(os.environ.get("VASG_FUZZ", "0"))
COMMON: Any = {"derandomize": MORE == 0, "suppress_health_check": list(HealthCheck)}
QUICK = settings(max_examples=400 * max(MORE, 1), **COMMON)
# no shrinking: each try is a Spark job
SPARK = settings(max_examples=8 * max(MORE, 1), phases=[Phase.explicit, Phase.generate], **COMMON)
NASTY = [
    b"", b"\0", b"\n", b"\r", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b'"', b'""', b"'", b"\\", b",", b",,", b"{", b"}",
    b"[", b"]", b"[[", b":", b"#", b"=", b"NaN", b"-Infinity", b"1e999", b"-1", b"null", b"true", b"\\ud800", b"\\N{BEL}",
    b"9" * 30, b"9" * 5000, b"[" * 3000, b"{'a':" * 60, b"," * 30_000, b"x" * 300_000, b"2024-02-30", b"99999-01-01", b"12:30",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, valid: bytes, most: int = 6) -> bytes:
    """``valid`` with a few of its stretches removed, repeated or replaced."""
    content = valid
    for _ in range(draw(st.integers(0, most))):
        start = draw(st.integers(0, len(content)))
        end = start + draw(st.integers(0, 16))
        new = draw(st.sampled_from(NASTY) | st.binary(max_size=6) | st.just(content[start:end] * 2))
        content = content[:start] + new + content[end:]
    return content


def lines_like(*valid: bytes) -> st.SearchStrategy[bytes]:
    """Files of lines that were once valid."""
    line = st.sampled_from(valid).flatmap(lambda line: mutated(line, 3))
    return st.lists(line, max_size=80).map(b"\n".join)


def count_of_lines(content: bytes) -> int:
    return content.count(b"\n") + (not content.endswith(b"\n"))


def records(read: Callable[[], AbstractContextManager[Records]]) -> Records | None:
    """What the reader found, its counts checked; None when it refused with one of our errors."""
    try:
        with read() as found:
            rows, rejects = found.rows.collect(), found.rejects.collect()
    except Exception as error:
        if complain("fuzz", error, verbose=False) == 70:
            raise
        return None
    assert found.total == len(rows) + len(rejects)
    assert sum(found.bad.values()) == len(rejects)
    assert all(row.line >= 1 and row.reason and len(row.raw or "") <= 1000 for row in rejects)
    return found


def file(folder: pytest.TempPathFactory, name: str, content: bytes) -> str:
    path = folder.mktemp("fuzz") / name
    path.write_bytes(content)
    return str(path)


REVIEWS = {
    "amazon_2018": json.dumps(
        {"reviewerID": "A1", "asin": "B1", "overall": 5.0, "unixReviewTime": 1297468800}
    ).encode(),
    "amazon_2023": json.dumps({"user_id": "U", "parent_asin": "P", "rating": 4, "timestamp": 1588687728923}).encode(),
}


@SPARK
@given(data=st.data(), kind=st.sampled_from(sorted(REVIEWS)))
def test_reviews(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, kind: Any) -> None:
    content = data.draw(lines_like(REVIEWS[kind], REVIEWS[kind] + b"\n" + REVIEWS[kind]))
    path = file(tmp_path_factory, "r.json", content)
    found = records(lambda: read_reviews(spark, Reviews(path=path, format=kind, max_bad_fraction=1.0)))
    assert (found is None) == (content == b"")
    assert found is None or found.total == count_of_lines(content)


@SPARK
@given(content=mutated(gzip.compress(b"\n".join([REVIEWS["amazon_2018"]] * 2000), mtime=0)))
def test_compressed_reviews(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = file(tmp_path_factory, "r.json.gz", content)
    records(lambda: read_reviews(spark, Reviews(path=path, format="amazon_2018", max_bad_fraction=1.0)))


@SPARK
@given(
    header=mutated(b"user,product,stars,when", 1), body=lines_like(b"u1,p1,4.5,2018-09-20", b'"u,""1",p2,1,1537401600')
)
def test_transactions(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, header: bytes, body: bytes
) -> None:
    path = file(tmp_path_factory, "t.csv", header + b"\n" + body)
    columns = {"user_column": "user", "product_column": "product", "rating_column": "stars", "timestamp_column": "when"}
    found = records(lambda: read_reviews(spark, Reviews(path=path, max_bad_fraction=1.0, **columns)))
    assert found is None or found.total == count_of_lines(header + b"\n" + body) - 1


@SPARK
@given(data=st.data())
def test_parquet_transactions(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    file_of_bytes = io.BytesIO()
    pq.write_table(pa.table({"user_id": ["u"] * 300, "product_id": [f"p{i}" for i in range(300)]}), file_of_bytes)
    path = file(tmp_path_factory, "t.parquet", data.draw(mutated(file_of_bytes.getvalue())))
    records(lambda: read_reviews(spark, Reviews(path=path, format="parquet", max_bad_fraction=1.0)))


METADATA = {
    "amazon_2014": b"{'asin': 'A', 'categories': [['Clothing', 'Women'], ['Shoes']], 'title': 'It\\'s \\d'}",
    "amazon_2018": json.dumps({"asin": "A", "category": ["Clothing", "Women"]}).encode(),
    "amazon_2023": json.dumps({"parent_asin": "A", "categories": ["Clothing", "Women"]}).encode(),
}


@SPARK
@given(data=st.data(), kind=st.sampled_from(sorted(METADATA)))
def test_metadata(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, kind: Any
) -> None:
    content = data.draw(lines_like(METADATA[kind]))
    options = {"metadata": file(tmp_path_factory, "m.json", content), "format": kind, "category": "Women"}
    found = records(lambda: read_metadata(spark, Reviews(**options, max_bad_fraction=1.0)))
    assert (found is None) == (content == b"")
    assert found is None or found.total == count_of_lines(content)


@QUICK
@given(mutated(METADATA["amazon_2014"]) | st.binary())
def test_literals(line: bytes) -> None:
    fault, name, in_category = parse_literal(line.decode("utf-8", "replace"), "Women")
    assert (in_category is None) == (fault is not None)
    assert name is None or name.encode() is not None


@SPARK
@given(data=st.data(), dim=st.integers(1, 4))
def test_feature_file(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, dim: int
) -> None:
    record = np.array([(b"B000000001", [1.5] * dim)] * 30, [("id", f"S{ID_BYTES}"), ("feature", "<f4", (dim,))])
    content = data.draw(mutated(record.tobytes()))
    if data.draw(st.integers(0, 4)):  # usually a whole number of records
        content = content[: len(content) // record.itemsize * record.itemsize]
    settings = Features(source="feature_file", path=file(tmp_path_factory, "f.b", content), dim=dim)
    found = records(lambda: read_ids(spark, feature_file(settings), 1.0))
    assert (found is None) == (not content or len(content) % record.itemsize > 0)


PICTURES = [saved(noise(48, 64), kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP")]
TURNED = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0"
PICTURES.append(saved(noise(48, 64), "JPEG", progressive=True, exif=TURNED))


@QUICK
@given(st.sampled_from(PICTURES).flatmap(mutated) | st.binary())
def test_pictures(content: bytes) -> None:
    try:
        picture = decode(content, 1_000_000)
    except PictureError:
        return
    assert picture.mode == "RGB"
    assert 1 <= max(picture.size) <= SIDE


EXAMPLE = (ROOT / "examples" / "hm.toml").read_bytes()


@QUICK
@given(
    mutated(EXAMPLE) | st.binary(),
    st.lists(mutated(b"train.decoder.hidden=[8]").map(lambda b: b.decode("utf-8", "replace"))),
)
def test_configuration(tmp_path_factory: pytest.TempPathFactory, content: bytes, overrides: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.toml"
    path.write_bytes(content)
    try:
        assert isinstance(load(path, overrides), Config)
    except Exception as error:
        if complain("fuzz", error, verbose=False) == 70:
            raise
