"""The lock of a warehouse: one run at a time, and what a dead run left is broken by exactly one other."""

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vasg.errors import TryLater
from vasg.lock import _is_stale
from vasg.tables import Warehouse


def test_the_lock_of_a_live_run_is_respected_and_names_it(tmp_path: Path) -> None:
    with Warehouse(tmp_path).lock("night"):
        with (
            pytest.raises(TryLater, match=r"is held by run night since .* on host .*; try again later"),
            Warehouse(tmp_path).lock("other"),
        ):
            pass
        assert json.loads((tmp_path / "lock").read_text())["run_id"] == "night"
    assert not (tmp_path / "lock").exists()


def test_a_failure_gives_the_lock_back(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Warehouse(tmp_path).lock("run"):
        raise RuntimeError
    with Warehouse(tmp_path).lock("next"):
        pass


def test_the_jobs_of_a_run_share_its_lock(tmp_path: Path) -> None:
    with Warehouse(tmp_path).lock("run"):
        with Warehouse(tmp_path).lock("run"):
            pass
        assert (tmp_path / "lock").exists(), "the inner holder took the lock with it"


def kill_while_holding(root: Path) -> None:
    code = f"import os\nfrom vasg.tables import Warehouse\nwith Warehouse({str(root)!r}).lock('dead'): os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9


def test_the_lock_of_a_killed_run_is_broken_and_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kill_while_holding(tmp_path)
    assert (tmp_path / "lock").exists()
    with Warehouse(tmp_path).lock("next"):
        assert json.loads((tmp_path / "lock").read_text())["run_id"] == "next"
    assert "the lock of run dead is stale" in capsys.readouterr().out


def test_another_process_with_the_number_of_the_dead_one_does_not_keep_the_lock(tmp_path: Path) -> None:
    kill_while_holding(tmp_path)
    holder = json.loads((tmp_path / "lock").read_text())
    (tmp_path / "lock").write_text(json.dumps(holder | {"pid": os.getppid()}))
    with Warehouse(tmp_path).lock("next"):
        pass


def test_the_lock_of_another_host_is_never_broken(tmp_path: Path) -> None:
    kill_while_holding(tmp_path)
    holder = json.loads((tmp_path / "lock").read_text())
    (tmp_path / "lock").write_text(json.dumps(holder | {"host": "elsewhere"}))
    with (
        pytest.raises(TryLater, match=r"on host elsewhere; try again later, or remove .*lock if that run is dead"),
        Warehouse(tmp_path).lock("next"),
    ):
        pass


def hold(root: str, name: str, start: object, log: str) -> None:
    start.wait()  # type: ignore[attr-defined]
    try:
        with Warehouse(root).lock(name), open(log, "a", encoding="utf-8") as file:
            file.write(f"{name}\n")
            file.flush()
            os.kill(os.getpid(), 9)  # dies holding it: the next one finds a stale lock
    except TryLater:
        pass


def test_many_processes_that_find_the_same_stale_lock_never_hold_it_together(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    kill_while_holding(tmp_path)
    start, log = context.Event(), str(tmp_path / "log")
    processes = [context.Process(target=hold, args=(str(tmp_path), f"p{i}", start, log)) for i in range(6)]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join()
    holders = Path(log).read_text().split()
    assert len(holders) == len(set(holders)) >= 1
    assert json.loads((tmp_path / "lock").read_text())["run_id"] == holders[-1]
    assert _is_stale(json.loads((tmp_path / "lock").read_text()))
