"""Ending in order when told to: a job removes what is half-written and gives its lock back, a run passes the signal on."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_PRCTL, _PR_SET_PDEATHSIG = ctypes.CDLL(None).prctl, 1
_WAIT_SECONDS, _KILLED_SECONDS = 30.0, 5.0  # until SIGKILL, and from then on until we go on without


@contextmanager
def ends_in_order() -> Iterator[None]:
    """While the body runs, SIGTERM leaves it as SystemExit(143), so that everything is cleaned up on the way out.

    Under spark-submit, schedulers end the JVM, which leaves its Python driver behind: the death of the parent counts as
    SIGTERM, too.
    """
    done = threading.Event()
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        threading.Thread(target=_watch_parent, args=(os.getppid(), done), daemon=True).start()
    with _handled((signal.SIGTERM,), lambda number: sys.exit(128 + number)):
        try:
            yield
        finally:
            done.set()


@contextmanager
def held_back() -> Iterator[list[int]]:
    """While the body runs, SIGTERM does not break into it; yields the signals that came, for the body to come to an end.

    They end the process, as they would have, once it has.
    """
    came: list[int] = []
    with _handled((signal.SIGTERM,), came.append):
        yield came
    if came:
        sys.exit(128 + came[0])


@contextmanager
def passed_on(command: Sequence[str], **options: Any) -> Iterator[tuple[subprocess.Popen[Any], list[int]]]:
    """Start a command as a process group; while the body runs, signals that end a program go to the group.

    SIGKILL, which nobody can pass on, is SIGTERM for the command. ``options`` are those of Popen. Yields the process and
    the signals that came. After one, nothing of the group is left when this returns, except what not even SIGKILL ends.
    """
    came: list[int] = []
    process: subprocess.Popen[Any] | None = None

    def pass_on(number: int) -> None:
        came.append(number)
        if process is not None:
            _tell(process.pid, number)

    with _handled(_SIGNALS, pass_on):
        process = subprocess.Popen(command, process_group=0, preexec_fn=partial(_end_with, os.getpid()), **options)
        for number in tuple(came):  # while it was being started; twice does no harm that early
            _tell(process.pid, number)
        with process:
            yield process, came
        if came:
            _wait_until_empty({process.pid}, _WAIT_SECONDS)


def _end_with(parent: int) -> None:
    """In a new process: SIGTERM as soon as the thread of ``parent`` that started it is gone."""
    _PRCTL(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # gone already
        os._exit(128 + signal.SIGTERM)


def end_groups(groups: Collection[int], seconds: float) -> None:
    """SIGTERM to these process groups, all at once; after ``seconds``, SIGKILL to those of which something is left."""
    for group in groups:
        _tell(group, signal.SIGTERM)
    _wait_until_empty(groups, seconds)


def shell_code(returncode: int) -> int:
    """What a shell makes of the returncode of a Popen: 128 + N for a process that signal N ended."""
    return returncode if returncode >= 0 else 128 - returncode


def _wait_until_empty(groups: Collection[int], seconds: float) -> None:
    end = time.monotonic() + seconds
    while groups and (left := end - time.monotonic()) > -_KILLED_SECONDS:
        for group in groups:
            _reap(group)
        groups = [group for group in groups if _tell(group, 0 if left > 0 else signal.SIGKILL)]
        if groups:
            time.sleep(0.1)


def _tell(group: int, number: int) -> bool:
    """Send a signal; returns whether there was anybody to get it."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _reap(group: int) -> None:
    """Wait for those of a group that have ended and are ours to wait for; until then they count as members.

    In a container where we are the first process, orphans become ours: the driver, once its spark-submit is gone.
    """
    with contextlib.suppress(ChildProcessError):  # none is ours
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass


@contextmanager
def _handled(numbers: tuple[signal.Signals, ...], handle: Callable[[int], object]) -> Iterator[None]:
    """Call ``handle`` for these signals; one that is ignored (nohup) stays ignored."""

    def handler(number: int, _: FrameType | None) -> None:
        handle(number)

    wanted = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    before = [signal.signal(number, handler) for number in wanted]
    try:
        yield
    finally:
        for number, old in zip(wanted, before, strict=True):
            signal.signal(number, old)


def _watch_parent(parent: int, done: threading.Event) -> None:
    while not done.wait(1.0):
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)
            return
