"""Faults of a real standalone cluster: executors and a worker that are killed while a stage runs on them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cluster
import pytest
from cluster import Cluster

from vasg.runner import HOME
from vasg.tables import Warehouse

pytestmark = [pytest.mark.fault, pytest.mark.slow]
SMALL = ("walks.walk_length=4", "walks.walks_per_node=20", "walks.row_group_size=512", "walks.lanes=2")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of our own: one of its workers does not survive."""
    with cluster.standalone_cluster(tmp_path_factory.mktemp("killed")) as started:
        yield started


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, run_job: Callable[..., int]) -> Path:
    """A shop and, in ``root``, what its first stages publish when they run in one process."""
    shop = tmp_path_factory.mktemp("shop")
    size = ["--users", "600", "--products", "500", "--ratings", "9000", "--dim", "16"]
    subprocess.run([sys.executable, "-m", "vasg.demo", "--out", str(shop), *size], check=True)
    for stage in ("preprocess_reviews", "filter_users", "generate_walks"):
        assert run_job(stage, shop / "config.toml", shop / "root", *SMALL) == 0
    return shop


def start(running: Cluster, shop: Path, root: Path, stage: str, strategy: str) -> subprocess.Popen[str]:
    """Start one stage on the cluster."""
    command = [
        sys.executable, "-m", "vasg.cli", "run", "--config", str(shop / "config.toml"), "--root", str(root), "--from", stage,
        "--to", stage, "--properties-file", str(running.properties),
    ]  # fmt: skip
    for override in (*SMALL, f"walks.strategy={strategy}"):
        command += ["--set", override]
    own = running.environment() | {"PYTHONPATH": str(HOME)}
    return subprocess.Popen(command, env=own, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def files(folder: Path, beginning: str) -> set[str]:
    """Paths of the files below a folder whose names begin so; others come and go meanwhile."""
    return {
        os.path.join(path, name) for path, _, names in os.walk(folder) for name in names if name.startswith(beginning)
    }


def rows(root: Path, table: str) -> list[str]:
    """All rows of the table, sorted: which of Spark's tasks ends first decides where its rows are."""
    warehouse = Warehouse(root)
    warehouse.verify(table)
    return sorted(map(str, warehouse.read_arrow(table).to_pylist()))


@pytest.mark.parametrize(
    ("stage", "strategy", "step", "victim"),
    [
        ("preprocess_reviews", "auto", "shuffle_", "executor"),
        ("generate_walks", "replicated", "part-", "executor"),
        ("generate_walks", "partitioned", "shuffle_", "worker"),  # the last: nobody replaces the worker
    ],
    ids=["executor-map", "executor-write", "worker-map"],
)
def test_what_is_killed_changes_nothing(
    running: Cluster, undisturbed: Path, tmp_path: Path, stage: str, strategy: str, step: str, victim: str
) -> None:
    root, scratch = tmp_path / "root", running.properties.parent
    shutil.copytree(undisturbed / "root", root)
    before = files(root, step) | files(scratch, step)
    process = start(running, undisturbed, root, stage, strategy)
    while not (files(root, step) | files(scratch, step)) - before:  # the first task has got so far
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    executor, worker = min(running.executors().items())
    if victim == "worker":
        running.workers[worker].kill()
    os.kill(executor, signal.SIGKILL)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    (log,) = (root / "runs").glob(f"*/{stage}.log")
    assert "Lost executor" in log.read_text()
    for table in ("reviews", "rejects", "image_features", "walks"):
        assert rows(root, table) == rows(undisturbed / "root", table), table
