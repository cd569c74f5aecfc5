"""The .b feature file: sizes, bad records, repeated ids, categories."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from vasg.config import Features
from vasg.errors import ConfigurationError, DataError, InputMissing
from vasg.ingest.feature_file import feature_file, read_ids, write_features
from vasg.warehouse.publication import Part

I = 3  # noqa: E741


def write(path: Path, records: list[tuple[bytes, list[float]]]) -> Path:
    path.write_bytes(b"".join(name + np.asarray(feature, "<f4").tobytes() for name, feature in records))
    return path


def parse(spark: SparkSession, path: Path, out: Path, chunk: int = 4096) -> tuple[list[Any], list[Any], list[Part]]:
    """(product_id, feature) in the order of the files, rejects (line, reason, raw), parts."""
    file = replace(feature_file(Features(path=str(path), dim=I)), chunk=chunk)
    with read_ids(spark, file, 1.0) as found:
        assert found.total == file.records
        rejects = sorted((row.line, row.reason, row.raw) for row in found.rejects.collect())
        parts = write_features(file, found.rows, out)
    rows = [row for part in parts for row in pq.read_table(out / part.path).to_pylist()]
    return [(row["product_id"], row["feature"]) for row in rows], rejects, parts


@pytest.mark.fault
def test_bad_records(spark: SparkSession, tmp_path: Path) -> None:
    path = write(tmp_path / "f.b", [
        (b"B000000001", [1, 2, 3]), (b"B000000002", [np.nan, 0, 0]), (b"B000000003", [0, np.inf, 0]),
        (b"B000000004", [0, 0, 0]), (b"B00000000\xff", [1, 1, 1]), (b"B00000\x00000", [1, 1, 1]),
        (b"B000000001", [9, 9, 9]), (b"B000000002", [0, 0, -1e-40]), (b"B000000002", [0, -np.inf, 1]),
        (b"B000000002", [5, 5, 5]), (b"108775\0\0\0\0", [1, 0, 0]), (b"108775    ", [2, 0, 0]), (bytes(10), [1, 1, 1]),
        (b"10 8775\0\0\0", [1, 1, 1]),
    ])  # fmt: skip
    rows, rejects, _ = parse(spark, path, tmp_path / "out")
    assert sorted(rows) == [
        ("108775", [1.0, 0.0, 0.0]),
        ("B000000001", [1.0, 2.0, 3.0]),
        ("B000000002", [0.0, 0.0, float(np.float32(-1e-40))]),
    ]
    assert rejects == [
        (2, "feature not finite", "B000000002"), (3, "feature not finite", "B000000003"),
        (4, "feature all zero", "B000000004"), (5, "id is not printable ASCII without blanks", "B00000000?"),
        (6, "id is not printable ASCII without blanks", "B00000?000"), (7, "repeated id", "B000000001"),
        (9, "feature not finite", "B000000002"), (10, "repeated id", "B000000002"),
        (12, "repeated id", "108775"), (13, "id is empty", ""), (14, "id is not printable ASCII without blanks", "10?8775"),
    ]  # fmt: skip


@settings(
    max_examples=3, phases=[Phase.explicit, Phase.generate], deadline=None, suppress_health_check=list(HealthCheck)
)
@given(seed=st.integers(0, 2**32), chunk=st.integers(1, 40), repeated=st.floats(0, 1))
def test_same_as_record_by_record(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, seed: int, chunk: int, repeated: float
) -> None:
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("features")
    n = int(rng.integers(1, 80))
    names = [f"{int(i):010d}".encode() for i in rng.integers(0, 1 + int(n / (repeated + 0.01)), n)]
    features = rng.normal(size=(n, I)).astype(np.float32) * (rng.random((n, 1)) > 0.1)
    features[rng.random((n, I)) < 0.05] = np.nan
    path = write(folder / "f.b", list(zip(names, features.tolist(), strict=True)))
    expected: dict[str, list[float]] = {}
    reasons: list[tuple[int, str, str]] = []
    for i, (name, feature) in enumerate(zip(names, features, strict=True)):
        if not np.isfinite(feature).all():
            reasons.append((i + 1, "feature not finite", name.decode()))
        elif not feature.any():
            reasons.append((i + 1, "feature all zero", name.decode()))
        elif name.decode() in expected:
            reasons.append((i + 1, "repeated id", name.decode()))
        else:
            expected[name.decode()] = feature.tolist()
    rows, rejects, _ = parse(spark, path, folder / "out", chunk=chunk)
    assert rejects == reasons
    assert len(rows) == len(expected)
    assert dict(rows) == expected


@pytest.mark.fault
def test_only_chosen_products_in_full_row_groups(spark: SparkSession, tmp_path: Path) -> None:
    path = write(tmp_path / "f.b", [(f"{i:010d}".encode(), [i, 1, 1]) for i in range(400)])
    file = replace(feature_file(Features(path=str(path), dim=I)), chunk=10)
    digests = []
    for partitions in (1, 5):
        with read_ids(spark, file, 0.0) as found:
            chosen = found.rows.where("position % 4 = 3").repartition(partitions)
            parts = write_features(file, chosen, tmp_path / f"out{partitions}")
        digests.append(sorted(part.sha256 for part in parts))
        assert sum(part.rows for part in parts) == 100
        for part in parts:
            metadata = pq.read_metadata(tmp_path / f"out{partitions}" / part.path)
            assert all(metadata.row_group(g).num_rows >= 10 for g in range(metadata.num_row_groups - 1))
    assert digests[0] == digests[1]


def test_an_address_of_a_local_file_is_its_path(tmp_path: Path) -> None:
    """Nothing in it is encoded, as in the addresses of reviews."""
    path = write(tmp_path / "f%20 [1].b", [(b"B000000001", [1.0] * 300)])
    for address in (path, f"file:{path}", f"file://{path}"):
        assert feature_file(Features(path=str(address), dim=300)).records == 1


@pytest.mark.fault
def test_size_is_checked_before_reading(tmp_path: Path) -> None:
    path = write(tmp_path / "f.b", [(b"B000000001", [1.0] * 300)] * 50)
    assert feature_file(Features(path=str(path), dim=300)).records == 50
    with pytest.raises(DataError, match=r"60,500 bytes .* records of 16,394 bytes .* features\.dim 300 would fit"):
        feature_file(Features(path=str(path), dim=4096))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match=re.escape(str(path)) + ".* 1,205 left over.* cut off"):
        feature_file(Features(path=str(path), dim=300))
    path.write_bytes(b"")
    with pytest.raises(InputMissing, match="is empty"):
        feature_file(Features(path=str(path), dim=300))
    with pytest.raises(InputMissing, match="is not a file"):
        feature_file(Features(path=str(tmp_path), dim=300))
    with pytest.raises(ConfigurationError, match=r"features\.path"):
        feature_file(Features())
    with pytest.raises(ConfigurationError, match=r"features\.path: abfss://\S+ cannot be opened"):
        feature_file(Features(path="abfss://container@account/f.b"))


def test_a_wrong_dim_that_fits_by_chance_is_noticed(spark: SparkSession, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = write(tmp_path / "f.b", [(f"{i:010d}".encode(), rng.normal(size=10).tolist()) for i in range(26 * 5)])
    file = feature_file(Features(path=str(path), dim=4))  # 26 bytes a record instead of 50
    with pytest.raises(DataError, match="id is not printable ASCII without blanks"), read_ids(spark, file, 0.05):
        pass
