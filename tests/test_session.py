"""The session of a job reads files as they are, whatever their names and whatever lies beside them."""

from pathlib import Path
from typing import Any

import pytest
from pyspark.errors import IllegalArgumentException
from pyspark.sql import SparkSession

from vasg.errors import ConfigurationError, DataError
from vasg.failures import expected
from vasg.spark.session import _check_file_names


def test_a_name_with_a_colon_and_a_stale_checksum_of_hadoop_s_hinder_nobody(
    spark: SparkSession, tmp_path: Path
) -> None:
    for name in ("sku:1.csv", "tx 10:30.csv", "edited.csv"):
        (tmp_path / name).write_text("a\n")
    (tmp_path / ".edited.csv.crc").write_bytes(b"crc\0\0\0\x02\0" + b"\0" * 4)
    assert spark.read.text(f"file://{tmp_path}").count() == 3
    assert spark.read.text(f"file://{tmp_path}/tx 10:30.csv").count() == 1
    spark.range(1).write.parquet(f"file://{tmp_path}/table")
    assert not list((tmp_path / "table").glob(".*"))


def test_a_pattern_beside_a_name_with_a_colon_is_bad_data(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "tx 10:30.csv").write_text("a\n")
    with pytest.raises(IllegalArgumentException) as caught:
        spark.read.text(f"file://{tmp_path}/tx*.csv")
    found = expected(caught.value)
    assert type(found) is DataError
    assert "a pattern cannot match a name with a colon, " in str(found)


def test_what_starts_executors_on_yarn_finds_the_file_system_it_asks_for(spark: SparkSession) -> None:
    jvm: Any = spark.sparkContext._jvm
    hadoop = spark.sparkContext._jsc.hadoopConfiguration()  # type: ignore[union-attr]
    assert jvm.org.apache.hadoop.fs.FileSystem.getLocal(hadoop).getScheme() == "file"


def test_java_that_cannot_read_all_names_of_files_is_refused(spark: SparkSession) -> None:
    java: Any = spark.sparkContext._jvm.System  # type: ignore[union-attr]
    before = java.setProperty("sun.jnu.encoding", "ANSI_X3.4-1968")
    try:
        with pytest.raises(ConfigurationError, match=r"file names for ANSI_X3\.4-1968 .* set LC_ALL=C"):
            _check_file_names(spark)
    finally:
        java.setProperty("sun.jnu.encoding", before)
    _check_file_names(spark)
