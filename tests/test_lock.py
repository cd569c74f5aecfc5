"""The lock of a warehouse: one run at a time, and what a dead run left is broken by exactly one other."""

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

from vasg.errors import TryLater
from vasg.warehouse import lock
from vasg.warehouse.publication import Publication
from vasg.warehouse.tables import Warehouse


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
    code = (
        "import os; from vasg.warehouse.tables import Warehouse\n"
        f"with Warehouse({str(root)!r}).lock('dead'): os.kill(os.getpid(), 9)"
    )
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


def say_it_is_elsewhere(lock: Path, **change: object) -> None:
    """Let the lock file name a holder whose process cannot be seen from here."""
    lock.write_text(json.dumps(json.loads(lock.read_text()) | change))


@pytest.mark.parametrize(
    "change", [{"host": "elsewhere"}, {"machine": "other"}, {"namespace": "pid:[1]"}], ids=["host", "name", "container"]
)
def test_the_lock_of_a_process_we_cannot_see_is_broken_only_when_its_heartbeat_is_old(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, str]
) -> None:
    kill_while_holding(tmp_path)
    say_it_is_elsewhere(tmp_path / "lock", **change)
    set_age(tmp_path / "lock", lock.STALE_SECONDS - 60)
    with (
        pytest.raises(TryLater, match=r"held by run dead .* try again later, or remove .*lock if that run is dead"),
        Warehouse(tmp_path).lock("next"),
    ):
        pass
    set_age(tmp_path / "lock", lock.STALE_SECONDS + 60)
    with Warehouse(tmp_path).lock("next"):
        assert "the lock of run dead is stale" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["catalog"]


def set_age(path: Path, seconds: float) -> None:
    changed = time.time() - seconds
    os.utime(path, (changed, changed))


def test_a_holder_renews_its_heartbeat_and_stops_when_the_lock_is_another_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.01)

    def work() -> None:
        set_age(tmp_path / "lock", 1000)
        while (tmp_path / "lock").stat().st_mtime < time.time() - 500:
            time.sleep(0.01)
        say_it_is_elsewhere(tmp_path / "lock", run_id="other")
        while any(thread.name.endswith("(_beat)") for thread in threading.enumerate()):
            time.sleep(0.01)
        raise RuntimeError("whatever goes wrong then")

    with (
        pytest.raises(TryLater, match="of this run was taken over by run other on host"),
        Warehouse(tmp_path).lock("run"),
    ):
        work()
    assert json.loads((tmp_path / "lock").read_text())["run_id"] == "other", "it gave back what was not its own"


@pytest.mark.fault
def test_a_holder_that_was_taken_for_dead_cannot_publish(tmp_path: Path) -> None:
    rows = pa.table({"id": ["zombie"], "node_type": ["user"], "reason": [""]})

    def work(publication: Publication) -> None:
        publication.write_arrow("uncovered", rows)
        say_it_is_elsewhere(tmp_path / "lock", host="elsewhere")
        set_age(tmp_path / "lock", lock.STALE_SECONDS + 60)
        with Warehouse(tmp_path).lock("next"):
            pass
        publication.commit("mark", {})

    with (
        pytest.raises(TryLater, match=r"the lock .* of this run was removed"),
        Warehouse(tmp_path).lock("zombie") as warehouse,
        warehouse.publication("score", "zombie", "") as publication,
    ):
        work(publication)
    assert not Warehouse(tmp_path).has("uncovered")
    assert not list((tmp_path / "tables" / "uncovered").iterdir())


def test_a_lock_file_that_says_nothing_is_respected_until_it_is_old(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("")
    with pytest.raises(TryLater, match="is held by run unknown"), Warehouse(tmp_path).lock("next"):
        pass
    set_age(tmp_path / "lock", lock.STALE_SECONDS + 60)
    with Warehouse(tmp_path).lock("next"):
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
    assert lock._is_stale(tmp_path / "lock", json.loads((tmp_path / "lock").read_text()))
