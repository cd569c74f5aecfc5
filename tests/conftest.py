"""Shared fixtures: one Spark session for the whole run, jobs called in this process, the real data where it is there."""

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cluster
import pytest
from cluster import Cluster
from hypothesis import settings as hypothesis_settings
from pyspark.sql import SparkSession

from vasg.pipeline.job import main
from vasg.pipeline.runner import environment
from vasg.spark.session import SESSION

ROOT = Path(__file__).resolve().parents[1]
hypothesis_settings.register_profile("vasg", deadline=None)  # the first call compiles; tests never assert times
hypothesis_settings.load_profile("vasg")
DATA = Path(os.environ.get("VASG_TEST_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """A session as the jobs make it, on two threads that retry failed tasks."""
    os.environ.update({k: v for k, v in environment().items() if k.startswith(("SPARK", "PYSPARK", "LC_ALL"))})
    builder = SparkSession.builder.master("local[2,2]").appName("vasg tests")
    settings = SESSION | {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "2g",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",  # as in spark_conf/local.conf: half the CPU time
        "spark.python.daemon.module": "vasg.spark.python_daemon",
        "spark.sql.shuffle.partitions": "4",
        "spark.local.dir": str(tmp_path_factory.mktemp("spark")),
        "spark.log.level": "OFF",
        "spark.executorEnv.PYTHONPATH": str(Path(__file__).parent),  # tasks may use functions of test modules
    }
    for key, value in settings.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    yield session
    session.stop()


@pytest.fixture
def another_default(spark: SparkSession) -> Iterator[None]:
    """Paths without a scheme are not of this machine, as where HADOOP_CONF_DIR describes a cluster with HDFS."""
    hadoop: Any = spark.sparkContext._jsc.hadoopConfiguration()
    before = hadoop.get("fs.defaultFS")
    hadoop.set("fs.defaultFS", "hdfs://localhost:1")
    yield
    hadoop.set("fs.defaultFS", before)


@pytest.fixture(scope="session")
def run_job(spark: SparkSession) -> Callable[..., int]:
    """``run_job("filter_users", config_file, root, "split.method=none")`` runs jobs/filter_users.py here, gives its exit code."""

    def run(name: str, config: Path | str, root: Path | str, *overrides: str) -> int:
        spec = importlib.util.spec_from_file_location(f"jobs_{name}", ROOT / "jobs" / f"{name}.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        arguments = ["--config", str(config), "--root", str(root)]
        for override in overrides:
            arguments += [override] if override.startswith("--") else ["--set", override]
        return main(name, module.body, arguments)

    return run


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder with the real data sets; tests that need it skip where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"real data not found at {DATA}; set VASG_TEST_DATA to a folder with hm/, fashion/ and amazon/")
    return DATA


@pytest.fixture(scope="session")
def standalone_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A real standalone cluster of two workers on this machine, started for the tests that ask for it."""
    with cluster.standalone_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running
