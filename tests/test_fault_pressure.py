"""A whole run on a cluster with little memory whose executors are killed one after the other, beside an undisturbed one."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cluster import Cluster

from vasg.runner import HOME
from vasg.tables import Warehouse

SECONDS = 30
PRESSURE = (
    "spark.executor.memory 480m",  # the least that Spark takes
    "spark.memory.fraction 0.05",  # of it, for data: the rest of a task's goes to disk
    "spark.eventLog.enabled true",
)
SMALL = (
    "run_date=2024-05-06", "train.workers=2", "train.epochs=6", "train.decoder.hidden=[64]", "train.restarts=30",
    "train.checkpoint_seconds=2", "score.bootstrap=100",
)  # fmt: skip


def run(cluster: Cluster, shop: Path, name: str, *spark: str) -> subprocess.Popen[str]:
    """Start a whole run into the folder ``name`` of the shop, with more Spark settings."""
    properties = shop / f"{name}.conf"
    properties.touch(mode=0o600)
    properties.write_text("\n".join([cluster.properties.read_text(), *spark, ""]))
    command = ["run", "--config", "config.toml", "--root", name, "--properties-file", str(properties)]
    command += [argument for override in SMALL for argument in ("--set", override)]
    return subprocess.Popen(
        [sys.executable, "-m", "vasg.cli", *command], cwd=shop, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env=cluster.environment() | {"PYTHONPATH": str(HOME)},
    )  # fmt: skip


@contextmanager
def executors_killed(cluster: Cluster) -> Iterator[list[int]]:
    """While the body runs, an executor is killed every 30 seconds, on either worker in turn; yields those killed."""
    killed: list[int] = []
    done = threading.Event()

    def kill() -> None:
        while not done.wait(SECONDS):
            for pid, _ in sorted(
                cluster.executors().items(), key=lambda item: str(item[1]), reverse=len(killed) % 2 == 1
            )[:1]:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    try:
        yield killed
    finally:
        done.set()
        thread.join()


def rows(root: Path, table: str) -> list[str]:
    warehouse = Warehouse(root)
    warehouse.verify(table)
    content = warehouse.read_arrow(table)
    return sorted(map(str, content.drop([c for c in ("run_id",) if c in content.column_names]).to_pylist()))


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.timeout(1800)
def test_executors_killed_every_half_minute_change_nothing(standalone_cluster: Cluster, tmp_path: Path) -> None:
    size = ["--users", "800", "--products", "1000", "--ratings", "14000", "--dim", "64"]
    subprocess.run([sys.executable, "-m", "vasg.demo", "--out", str(tmp_path), *size], check=True)
    undisturbed = run(standalone_cluster, tmp_path, "undisturbed")
    output, _ = undisturbed.communicate()
    print(output)
    assert undisturbed.returncode == 0, output
    (tmp_path / "events").mkdir()
    with executors_killed(standalone_cluster) as killed:
        process = run(standalone_cluster, tmp_path, "killed", *PRESSURE, f"spark.eventLog.dir {tmp_path}/events")
        for line in process.stdout:
            print(line, end="", flush=True)
        process.wait()
    print(killed)
    assert process.returncode == 0
    assert len(killed) >= 3
    events = "".join(path.read_text() for path in (tmp_path / "events").rglob("*") if path.is_file())
    print(
        re.findall(r'"(?:Disk|Memory) Bytes Spilled":[1-9]\d*', events)[:5],
        re.findall(r'"Disk Size":[1-9]\d*', events)[:5],
    )
    for table in Warehouse(tmp_path / "undisturbed").catalog()["tables"]:
        print(table, rows(tmp_path / "killed", table) == rows(tmp_path / "undisturbed", table))
