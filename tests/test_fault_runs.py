"""Faults of whole runs: real spark-submit, processes that are killed, stopped and told to end, a disk that is full."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from fault_server import rows
from processes import descendants

from vasg import schemas
from vasg.pipeline import job
from vasg.pipeline.runner import HOME, environment
from vasg.warehouse.publication import STAGED
from vasg.warehouse.tables import Warehouse

pytestmark = [pytest.mark.fault, pytest.mark.slow]
STARTED: list[subprocess.Popen[str]] = []
TEXT = "[reviews]\npath = 'raw.csv'\nuser_column = 'u'\nproduct_column = 'p'\n"
RUN = ("run", "--config", "config.toml", "--root", "root")


@pytest.fixture(autouse=True)
def _nothing_outlives_its_test() -> Iterator[None]:
    yield
    for process in STARTED:
        for pid in [*descendants(process.pid), process.pid] if process.poll() is None else []:
            os.kill(pid, signal.SIGKILL)
        process.wait()
    STARTED.clear()


def start(shop: Path, *arguments: str, failpoint: str = "") -> subprocess.Popen[str]:
    """Start ``vasg ...`` in the folder of the shop."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vasg.cli", *arguments], cwd=shop, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment() | {"PYTHONPATH": str(HOME), "VASG_FAILPOINT": failpoint},
    )  # fmt: skip
    STARTED.append(process)
    return process


def run(shop: Path, *arguments: str, failpoint: str = "") -> tuple[int, str, str]:
    """``vasg ...`` to its end: exit code, stdout, stderr."""
    process = start(shop, *(arguments or RUN), failpoint=failpoint)
    output, errors = process.communicate()
    return process.returncode, output, errors


def write_raw(shop: Path, rows: int) -> None:
    (shop / "raw.csv").write_text("u,p\n" + "".join(f"u{i % 7},p{i}\n" for i in range(rows)))


def reviews(shop: Path) -> list[tuple[object, ...]]:
    """All rows of the current version, which must be as it was published."""
    warehouse = Warehouse(shop / "root")
    for table in warehouse.catalog()["tables"]:
        warehouse.verify(table)
    return sorted(tuple(row.values()) for row in warehouse.read_arrow("reviews").to_pylist())


def wait_for(condition: Callable[[], object]) -> None:
    """Return when it holds; the limit is the test's own."""
    while not condition():
        time.sleep(0.02)


def the_one(pid: int, *words: str) -> int:
    """The process below ``pid`` whose command line has all of these words."""
    (found,) = [number for number, command in descendants(pid).items() if all(word in command for word in words)]
    return found


def nothing_half_written(root: Path) -> bool:
    return not list(root.rglob(STAGED)) and not (root / "lock").exists()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop of 20 reviews, read by one run."""
    shop = tmp_path_factory.mktemp("published")
    (shop / "config.toml").write_text(TEXT)
    write_raw(shop, 20)
    code, _, errors = run(shop)
    assert code == 0, errors
    return shop


@pytest.fixture
def shop(published: Path, tmp_path: Path) -> Path:
    """The same, and since then there are 30."""
    shutil.copytree(published, tmp_path / "shop")
    write_raw(tmp_path / "shop", 30)
    return tmp_path / "shop"


@pytest.mark.parametrize(("point", "rows"), [("table-written", 20), ("before-commit", 20), ("committed", 30)])
def test_a_driver_killed_before_or_during_the_swap(shop: Path, point: str, rows: int) -> None:
    code, _, _ = run(shop, failpoint=f"{point}:kill")
    assert code == 128 + signal.SIGKILL
    assert len(reviews(shop)) == rows
    assert run(shop)[0] == 0
    found = reviews(shop)
    assert [row[:2] for row in found] == sorted((f"u{i % 7}", f"p{i}") for i in range(30))
    assert nothing_half_written(shop / "root")


def test_sigterm_ends_a_run_and_all_its_processes_in_order(shop: Path) -> None:
    process = start(shop, *RUN)
    wait_for(lambda: list((shop / "root").glob(f"tables/*/*/{STAGED}")))
    below = descendants(process.pid)
    assert any("jobs/preprocess_reviews.py" in command for command in below.values())
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert "stopped with code 143" in output
    assert not [pid for pid in below if Path(f"/proc/{pid}").exists()]
    assert nothing_half_written(shop / "root")
    assert len(reviews(shop)) == 20
    latest = max((shop / "root" / "runs").glob("*/run.json"), key=lambda path: path.stat().st_mtime)
    assert json.loads(latest.read_text())["exit_code"] == 143
    assert run(shop)[0] == 0
    assert len(reviews(shop)) == 30


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_job_does_not_outlive_the_spark_submit_that_a_scheduler_ends(shop: Path, number: signal.Signals) -> None:
    process = start(shop, *RUN)
    wait_for(lambda: list((shop / "root").glob(f"tables/*/*/{STAGED}")))
    submit = the_one(process.pid, "SparkSubmit")
    job = the_one(submit, "jobs/preprocess_reviews.py")
    os.kill(submit, number)
    _, errors = process.communicate()
    assert process.returncode == 128 + number
    assert f"vasg preprocess_reviews: ended by {number.name}" in errors
    wait_for(lambda: not Path(f"/proc/{job}").exists())
    assert nothing_half_written(shop / "root")
    assert len(reviews(shop)) == 20


def test_a_stage_does_not_outlive_the_run_that_is_killed(shop: Path) -> None:
    process = start(shop, *RUN)
    wait_for(lambda: list((shop / "root").glob(f"tables/*/*/{STAGED}")))
    below = descendants(process.pid)
    process.kill()
    process.communicate()
    wait_for(lambda: not [pid for pid in below if Path(f"/proc/{pid}").exists()])
    assert not list((shop / "root").rglob(STAGED))
    assert len(reviews(shop)) == 20
    assert run(shop)[0] == 0  # it breaks the lock
    assert len(reviews(shop)) == 30


def test_the_second_of_two_runs_is_told_to_try_later(shop: Path) -> None:
    first = start(shop, *RUN, failpoint="before-commit:stop")
    wait_for(lambda: any(is_stopped(pid) for pid in descendants(first.pid)))
    code, _, errors = run(shop)
    assert code == 75
    holder = json.loads((shop / "root" / "lock").read_text())
    assert f"is held by run {holder['run_id']} since {holder['since']} on host {holder['host']}" in errors
    assert len(reviews(shop)) == 20
    os.kill(next(pid for pid in descendants(first.pid) if is_stopped(pid)), signal.SIGCONT)
    first.communicate()
    assert first.returncode == 0
    assert len(reviews(shop)) == 30


def is_stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_lock_of_a_killed_run_is_broken_and_said_so(shop: Path) -> None:
    assert run(shop, failpoint="lock-taken:kill")[0] == -signal.SIGKILL
    dead = json.loads((shop / "root" / "lock").read_text())["run_id"]
    code, output, errors = run(shop)
    assert code == 0, errors
    assert f"the lock of run {dead} is stale" in output
    assert len(reviews(shop)) == 30


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)  # after a failure, a process may still be on it


def test_a_full_disk_publishes_nothing_and_a_run_with_more_space_finishes(small_disk: Path, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(TEXT)
    (tmp_path / "raw.csv").write_text("u,p\n" + "".join(f"u{i * 7919 % 1000003},p{i}\n" for i in range(100_000)))
    where = ("run", "--config", "config.toml", "--root", str(small_disk / "root"))
    code, _, errors = run(tmp_path, *where)
    assert code == 73, errors
    assert errors.count("\n") == 1
    assert "no space left on the device" in errors
    root = small_disk / "root"
    assert not Warehouse(root).has("reviews")
    assert nothing_half_written(root)
    assert not list(root.glob("tables/*/*"))
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    code, _, errors = run(tmp_path, *where)
    assert code == 0, errors
    assert Warehouse(root).manifest("reviews")["rows"] == 100_000


def test_a_full_disk_under_what_tasks_exchange_publishes_nothing(small_disk: Path, tmp_path: Path) -> None:
    pairs = [(f"u{i * 7919 % 20011}", f"p{i * 104729 % 1000003}") for i in range(100_000)]
    users, products = zip(*pairs, strict=True)
    content = {"user_id": users, "product_id": products, "rating": [1.0] * len(pairs), "timestamp": [0] * len(pairs)}
    warehouse = Warehouse(tmp_path / "root")
    with warehouse.publication("preprocess_reviews", "run", "") as publication:
        publication.write_arrow("reviews", pa.table(content, schemas.TABLES["reviews"].arrow()))
        publication.write_arrow("image_features", rows("image_features", "p0"))
        publication.commit("mark", {})
    (tmp_path / "config.toml").write_text("[features]\nsource = 'feature_file'\n[split]\nmin_user_products = 1\n")
    for where, expected in ((small_disk, 73), (tmp_path / "large", 0)):
        shipped = (HOME / "spark_conf" / "local.conf").read_text()
        (tmp_path / "my.conf").write_text(f"{shipped}spark.local.dir {where}\n")
        code, _, errors = run(
            tmp_path, *RUN, "--from", "filter_users", "--to", "filter_users", "--properties-file", "my.conf"
        )
        assert code == expected, errors
        assert warehouse.has("nodes") == (code == 0)
        assert nothing_half_written(tmp_path / "root")
        if code:
            assert errors.count("\n") == 1
            assert "no space left on the device (output, spark.local.dir or TMPDIR)" in errors


@pytest.mark.parametrize(
    "write",
    [
        lambda path: np.save(path, np.zeros(2**20)),
        lambda path: torch.save(torch.zeros(2**20), path),
        lambda path: pq.write_table(pa.table({"a": np.random.default_rng(0).random(2**20)}), path),
        lambda path: path.write_bytes(b"x" * 2**22),
    ],
    ids=["numpy", "torch", "arrow", "python"],
)
def test_whoever_writes_on_a_full_disk_it_is_said_alike(
    small_disk: Path, write: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    def body(_: job.Job) -> None:
        write(small_disk / "file")

    (small_disk / "raw.csv").write_text("u,p\n")
    (small_disk / "config.toml").write_text(TEXT)
    arguments = ["--config", str(small_disk / "config.toml"), "--root", str(small_disk / "root")]
    assert job.main("preprocess_reviews", body, arguments) == 73
    assert "no space left on the device" in capsys.readouterr().err
    assert nothing_half_written(small_disk / "root")
