"""Faults of a real standalone cluster: executors and a worker that are killed, once or again and again, change nothing.

What is published must be what an undisturbed run in one process publishes.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cluster
import pytest
from cluster import Cluster
from processes import meanwhile

from vasg.config_file import load
from vasg.pipeline.runner import HOME
from vasg.pipeline.stages import stages
from vasg.warehouse.tables import Warehouse

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(1800)]
SETTINGS = (
    "run_date=2024-05-06", "walks.walk_length=6", "walks.row_group_size=512", "walks.lanes=2", "train.workers=2",
    "train.epochs=4", "train.baselines=[]", "train.decoder.hidden=[32]", "train.mapping.steps=40", "train.restarts=30",
    "train.checkpoint_seconds=2", "score.bootstrap=50", "score.top_k=10", "score.metric_k=[10]",
)  # fmt: skip
PRESSURE = (
    "spark.executor.memory 450m",  # the least that Spark takes
    "spark.memory.fraction 0.05",  # of that, for data: the rest goes to disk
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of our own: one of its workers does not survive."""
    with cluster.standalone_cluster(tmp_path_factory.mktemp("killed")) as started:
        yield started


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, run_job: Callable[..., int]) -> Path:
    """A shop and, in ``root``, what all stages publish."""
    shop = tmp_path_factory.mktemp("shop")
    size = ["--users", "300", "--products", "250", "--ratings", "4500", "--dim", "16"]
    subprocess.run([sys.executable, "-m", "vasg.demo", "--out", str(shop), *size], check=True)
    for stage in stages(load(shop / "config.toml", SETTINGS)):
        assert run_job(stage.name, shop / "config.toml", shop / "root", *SETTINGS) == 0
    return shop


def start(
    running: Cluster, shop: Path, root: Path, *arguments: str, spark: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    """Start ``vasg run`` on the cluster with more Spark settings; what it prints is in a file beside ``root``."""
    properties = root.with_name("my.conf")
    properties.touch(mode=0o600)
    properties.write_text("\n".join([running.properties.read_text(), *spark, ""]))
    command = ["run", "--config", str(shop / "config.toml"), "--root", str(root), "--properties-file", str(properties)]
    for override in SETTINGS:
        command += ["--set", override]
    with root.with_name("output").open("w") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "vasg.cli", *command, *arguments], text=True, stdout=output, stderr=output,
            env=running.environment() | {"PYTHONPATH": str(HOME)},
        )  # fmt: skip


@contextmanager
def executors_killed(running: Cluster) -> Iterator[list[int]]:
    """While the body runs, one executor is killed every half minute, on one worker and the other; yields those killed.

    On a machine so busy that three daemons need ten seconds and more, it is less often: nothing would ever get under way.
    """
    killed: list[int] = []

    def kill() -> None:
        worker = list(running.workers)[len(killed) % len(running.workers)]
        for pid, folder in running.executors().items():
            if folder == worker:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    with meanwhile(kill, max(30.0, 3 * running.seconds)):
        yield killed


def files(folder: Path, beginning: str) -> set[str]:
    """Paths of the files below a folder whose names begin so; others come and go meanwhile."""
    return {
        os.path.join(path, name) for path, _, names in os.walk(folder) for name in names if name.startswith(beginning)
    }


def rows(root: Path, table: str) -> list[str]:
    """All rows of the table, sorted: which of Spark's tasks ends first decides where its rows are."""
    warehouse = Warehouse(root)
    warehouse.verify(table)
    content = warehouse.read_arrow(table)
    return sorted(map(str, content.select([name for name in content.column_names if name != "run_id"]).to_pylist()))


def test_executors_killed_every_half_minute(running: Cluster, undisturbed: Path, tmp_path: Path) -> None:
    roots: list[Path] = []
    with executors_killed(running) as killed:
        while len(killed) < 3:  # a fast machine has to run more than once
            roots.append(tmp_path / str(len(roots)) / "root")
            roots[-1].parent.mkdir()
            process = start(running, undisturbed, roots[-1], spark=PRESSURE)
            process.wait()
            assert process.returncode == 0, roots[-1].with_name("output").read_text()
    for root in roots:
        for table in Warehouse(undisturbed / "root").catalog()["tables"]:
            assert rows(root, table) == rows(undisturbed / "root", table), table


@pytest.mark.parametrize(
    ("stage", "strategy", "step", "victim"),
    [
        ("preprocess_reviews", "auto", "shuffle_", "executor"),
        ("generate_walks", "replicated", "part-", "executor"),
        ("generate_walks", "partitioned", "shuffle_", "worker"),  # the last: nobody replaces the worker
    ],
    ids=["executor-map", "executor-write", "worker-map"],
)
def test_one_that_is_killed_in_the_middle(
    running: Cluster, undisturbed: Path, tmp_path: Path, stage: str, strategy: str, step: str, victim: str
) -> None:
    root, scratch = tmp_path / "root", running.properties.parent
    shutil.copytree(undisturbed / "root", root)
    before = files(root, step) | files(scratch, step)
    process = start(running, undisturbed, root, "--from", stage, "--to", stage, "--set", f"walks.strategy={strategy}")
    while not (files(root, step) | files(scratch, step)) - before:  # the first task has got so far
        assert process.poll() is None, (tmp_path / "output").read_text()
        time.sleep(0.02)
    executor, worker = min(running.executors().items())
    if victim == "worker":
        running.workers[worker].kill()
    os.kill(executor, signal.SIGKILL)
    process.wait()
    assert process.returncode == 0, (tmp_path / "output").read_text()
    (log,) = (root / "runs").glob(f"*/{stage}.log")
    assert "Lost executor" in log.read_text()
    for table in ("reviews", "rejects", "image_features", "walks"):
        assert rows(root, table) == rows(undisturbed / "root", table), table
