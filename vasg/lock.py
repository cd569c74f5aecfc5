"""One run at a time publishes into a warehouse: a lock file that says who holds it, and what a dead run left is broken."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vasg.errors import TryLater
from vasg.files import create_exclusively


@contextmanager
def lock(path: Path, run_id: str) -> Iterator[None]:
    """Hold the lock file ``path`` while the body runs. Raises TryLater while another live run holds it.

    A process started by the holder (same ``run_id``) shares the lock; the lock of a process of this host that is gone
    is broken, and said so.
    """
    holder = _take(path, run_id)
    if holder and holder["run_id"] != run_id:
        raise TryLater(
            f"{path.parent} is held by run {holder['run_id']} since {holder['since']} on host {holder['host']}; "
            f"try again later, or remove {path} if that run is dead"
        )
    try:
        yield
    finally:
        if holder is None:
            path.unlink(missing_ok=True)


def _take(path: Path, run_id: str) -> dict[str, Any] | None:
    """Take the lock, or say who holds it."""
    with _one_at_a_time(path.parent):  # between reading a stale lock and replacing it nobody else may do the same
        holder = _read(path)
        if holder and holder["run_id"] != run_id and _is_stale(holder):
            print(f"vasg: the lock of run {holder['run_id']} is stale (its process is gone) and was broken", flush=True)
            path.unlink()
            holder = None
        if holder is None:
            mine = {
                "run_id": run_id, "host": socket.gethostname(), "pid": os.getpid(),
                "process_start": _process_start(os.getpid()), "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            }  # fmt: skip
            if not create_exclusively(path, json.dumps(mine)):  # a run on another host was faster
                holder = _read(path) or mine | {"run_id": "unknown"}
        return holder


def _read(path: Path) -> dict[str, Any] | None:
    try:
        holder: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return holder


def _is_stale(holder: dict[str, Any]) -> bool:
    """Whether the process that holds a lock ended on this host. Of other hosts we know nothing."""
    return bool(holder["host"] == socket.gethostname() and holder["process_start"] != _process_start(holder["pid"]))


def _process_start(pid: int) -> str:
    """When a process started, in clock ticks since boot; "" if there is none. Tells it from a later one of that number."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if state in "ZX" else fields[18]


@contextmanager
def _one_at_a_time(directory: Path) -> Iterator[None]:
    """Keep other processes of this host out while the body runs."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
