"""One run at a time publishes into a warehouse: a lock file that says who holds it, and a heartbeat that says it lives.

The file's time of change is the heartbeat, renewed every few seconds. All times are the file server's own, so hosts
that share the folder need not agree on the time. The lock keeps order; safety does not hang on it: a holder that was
taken for dead finds the next catalog taken when it publishes (``Warehouse.lock``).
"""

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vasg.errors import TryLater
from vasg.failpoints import failpoint
from vasg.warehouse.files import create_exclusively, now

HEARTBEAT_SECONDS = 15.0
STALE_SECONDS = 300.0  # without a heartbeat, a run elsewhere counts as dead
MACHINE = Path("/etc/machine-id")


@dataclass(frozen=True)
class Hold:
    """A lock that is held: by ``run_id``, through another process of the same run (``shared``), after a dead run (``broke``)."""

    path: Path
    run_id: str
    shared: bool
    broke: bool

    def check(self, cause: Exception | None = None) -> None:
        """Raise TryLater if another run has taken the lock over, ``cause`` being what that has led to."""
        holder = _read(self.path)
        if holder is None or holder["run_id"] != self.run_id:
            by = f"taken over by run {holder['run_id']} on host {holder['host']}" if holder else "removed"
            raise TryLater(f"the lock {self.path} of this run was {by}; nothing was published, run again") from cause


@contextmanager
def lock(path: Path, run_id: str) -> Iterator[Hold]:
    """Hold the lock file ``path`` while the body runs. Raises TryLater while another live run holds it.

    A process started by the holder (same ``run_id``) shares the lock. The lock of a dead run is broken, and said so: on
    this host its process is gone, elsewhere its heartbeat has been missing for STALE_SECONDS.
    """
    hold, stop = _take(path, run_id), threading.Event()
    if not hold.shared:
        threading.Thread(target=_beat, args=(path, run_id, stop), daemon=True).start()
    try:
        failpoint("lock-taken")
        yield hold
    except Exception as error:
        hold.check(error)
        raise
    finally:
        stop.set()
        if not hold.shared:
            _release(path, run_id)
            failpoint("lock-released")


def _take(path: Path, run_id: str) -> Hold:
    """Take or share the lock. Raises TryLater when another live run has it."""
    with _one_at_a_time(path.parent):  # between reading a stale lock and replacing it nobody else may do the same
        holder = _read(path)
        stale = holder is not None and _is_stale(path, holder)
        if holder and stale:
            print(f"vasg: the lock of run {holder['run_id']} is stale (it is dead) and was broken", flush=True)
            path.unlink(missing_ok=True)
        if holder is None or stale:
            mine = {
                "run_id": run_id, **_here(), "pid": os.getpid(), "process_start": _process_start(os.getpid()),
                "since": now(),
            }  # fmt: skip
            if create_exclusively(path, json.dumps(mine)):
                return Hold(path, run_id, shared=False, broke=stale)
            holder = _read(path) or mine | {"run_id": "unknown"}  # a run on another host was faster
    if holder["run_id"] != run_id:
        raise TryLater(
            f"{path.parent} is held by run {holder['run_id']} since {holder['since']} on host {holder['host']}; "
            f"try again later, or remove {path} if that run is dead"
        )
    return Hold(path, run_id, shared=True, broke=False)


def _beat(path: Path, run_id: str, stop: threading.Event) -> None:
    """Renew the heartbeat until told to stop, or until the lock is another's."""
    while not stop.wait(HEARTBEAT_SECONDS):
        with contextlib.suppress(OSError):  # a file server that is away for a moment; the next beat tries again
            holder = _read(path)
            if holder is None or holder["run_id"] != run_id:
                return
            os.utime(path)


def _release(path: Path, run_id: str) -> None:
    with _one_at_a_time(path.parent):
        holder = _read(path)
        if holder and holder["run_id"] == run_id:
            path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    """What the lock file says; a file that cannot be understood has an unknown holder."""
    unknown = {"run_id": "unknown", "host": "unknown", "namespace": "", "since": "unknown"}
    try:
        holder: dict[str, Any] = unknown | json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        return unknown
    return holder


def _is_stale(path: Path, holder: dict[str, Any]) -> bool:
    """Whether the holder is dead: its process where we can see it, its heartbeat where we cannot."""
    if all(holder.get(key) == value for key, value in _here().items()):
        return bool(holder["process_start"] != _process_start(holder["pid"]))
    probe = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    probe.touch()
    try:
        return probe.stat().st_mtime - path.stat().st_mtime > STALE_SECONDS
    except FileNotFoundError:  # given back meanwhile
        return False
    finally:
        probe.unlink(missing_ok=True)  # gc takes it for a leftover


def _here() -> dict[str, str]:
    """Where process numbers mean the same: containers of one host may share its name, but not its processes.

    Hosts may share a name, too (localhost). The machine's own id is not for others to know, hence its hash.
    """
    machine = hashlib.sha256(b"vasg" + MACHINE.read_bytes()).hexdigest()[:16] if MACHINE.is_file() else ""
    return {"host": socket.gethostname(), "machine": machine, "namespace": os.readlink("/proc/self/ns/pid")}


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
