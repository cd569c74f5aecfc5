"""Arrays that all tasks of a host map: there while they are used, gone afterwards, also what a killed process left."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from vasg.spark.replicated import replicate

OTHER = "import sys, vasg.spark.replicated as r; print(r._folder()[0], flush=True); sys.stdin.read()"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that stands for TMPDIR, here and in processes started from here."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def other(temporary: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process, and the folder that it has made."""
    with subprocess.Popen(
        [sys.executable, "-c", OTHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def test_tasks_see_the_arrays_and_nothing_stays(spark: SparkSession, temporary: Path) -> None:
    with replicate(spark, {"numbers": np.arange(5), "none": np.zeros(0)}) as shared:
        seen = spark.sparkContext.parallelize([0], 1).map(lambda _: int(shared.open()["numbers"].sum())).collect()
        assert seen == [10]
        assert len(shared.open()["none"]) == 0
    assert list(temporary.iterdir()) == []


@pytest.mark.fault
def test_what_a_killed_process_left_goes_and_that_of_a_living_one_stays(
    spark: SparkSession, other: tuple[subprocess.Popen[str], Path]
) -> None:
    process, folder = other
    with replicate(spark, {"numbers": np.arange(5)}):
        assert folder.is_dir()
    assert folder.is_dir()
    process.kill()
    process.wait()
    with replicate(spark, {"numbers": np.arange(5)}) as shared:
        assert not folder.exists()
        assert shared.open()["numbers"].tolist() == [0, 1, 2, 3, 4]
