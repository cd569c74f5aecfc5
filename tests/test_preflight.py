"""Executors that lack what the driver has: the job says so, and how to mend it, before it does anything else."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from cluster import Cluster
from pyspark.errors import PySparkRuntimeError

from vasg.failures import executor_fault
from vasg.pipeline.runner import HOME

pytestmark = pytest.mark.fault


def run(cluster: Cluster, folder: Path, *spark: str) -> tuple[int, str]:
    """``vasg run`` of a first stage with more Spark settings: exit code and stderr."""
    (folder / "raw.csv").write_text("user_id,product_id\nu,p\n")
    (folder / "config.toml").write_text("reviews.path = 'raw.csv'\n")
    (folder / "my.conf").touch(mode=0o600)
    (folder / "my.conf").write_text("\n".join([cluster.properties.read_text(), *spark, ""]))
    command = ["run", "--config", "config.toml", "--root", "root", "--properties-file", "my.conf"]
    answer = subprocess.run(
        [sys.executable, "-m", "vasg.cli", *command], cwd=folder, capture_output=True, text=True, check=False,
        env=cluster.environment() | {"PYTHONPATH": str(HOME)},
    )  # fmt: skip
    return answer.returncode, answer.stderr


def bare_python(folder: Path) -> tuple[str, str]:
    """A Python of its own, without any package."""
    venv.create(folder / "bare", symlinks=True)
    return f"spark.pyspark.python {folder}/bare/bin/python", "the executors' Python has no module "


def no_python(folder: Path) -> tuple[str, str]:
    return f"spark.pyspark.python {folder}/python3", f"the executors have no Python at {folder}/python3"


def other_code(folder: Path) -> tuple[str, str]:
    """This package as it may be on a host that was forgotten."""
    shutil.copytree(HOME / "vasg", folder / "older" / "vasg")
    with (folder / "older" / "vasg" / "split.py").open("a") as file:
        file.write("# older\n")
    return f"spark.executorEnv.PYTHONPATH {folder}/older", f"an executor on {os.uname().nodename} has vasg's code "


@pytest.mark.slow
@pytest.mark.parametrize("misfit", [bare_python, no_python, other_code])
def test_executors_that_are_not_set_up_as_the_driver_is(
    standalone_cluster: Cluster, tmp_path: Path, misfit: object
) -> None:
    setting, message = misfit(tmp_path)  # type: ignore[operator]
    code, errors = run(standalone_cluster, tmp_path, setting, f"spark.pyspark.driver.python {sys.executable}")
    assert code == 78, errors
    assert errors.startswith(f"vasg preprocess_reviews: {message}")
    assert "install this package with the same dependencies at the same path on every host" in errors
    assert errors.count("\n") == 1
    assert not (tmp_path / "root" / "tables" / "reviews").exists()


def test_another_version_of_python() -> None:
    versions = {"worker_version": "3.9", "driver_version": "3.11"}
    said = str(PySparkRuntimeError(errorClass="PYTHON_VERSION_MISMATCH", messageParameters=versions))
    assert str(executor_fault(said)).startswith("the executors run Python 3.9; install ")
    assert executor_fault("an error of another kind") is None
