"""The processes below one on this machine: what they are, and how much memory they have used."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def descendants(pid: int) -> dict[int, str]:
    """The processes below one, with their command lines."""
    children: dict[int, dict[int, str]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            command = (path / "cmdline").read_text().replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
        children.setdefault(parent, {})[int(path.name)] = command
    found: dict[int, str] = {}
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), {})
        found |= below
        waiting += below
    return found


@contextmanager
def meanwhile(action: Callable[[], None], seconds: float) -> Iterator[None]:
    """While the body runs, do something again and again, after so many seconds each time."""
    done = threading.Event()

    def repeat() -> None:
        while not done.wait(seconds):
            action()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def peak_memory(pid: int) -> Iterator[dict[str, float]]:
    """While the body runs: the most resident memory, in MiB, of any process below ``pid`` with each command line."""
    peaks: dict[str, float] = {}

    def watch() -> None:
        for number, command in descendants(pid).items():
            try:
                found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{number}/status").read_text())
            except (FileNotFoundError, ProcessLookupError):
                continue
            if found:  # a process that has ended, and is not waited for, has none
                peaks[command] = max(peaks.get(command, 0.0), int(found.group(1)) / 1024)

    with meanwhile(watch, 0.1):
        yield peaks
