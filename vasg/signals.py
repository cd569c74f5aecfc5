"""Ending in order when told to: a job removes what is half-written and gives its lock back, a run passes the signal on."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_WAIT_SECONDS = 30.0


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
def passed_on(process: subprocess.Popen[Any]) -> Iterator[list[int]]:
    """While the body runs, signals that end a program go to the process group of ``process``; yields those that came.

    After one, nothing of the group is left when this returns.
    """
    came: list[int] = []

    def pass_on(number: int) -> None:
        came.append(number)
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.killpg(process.pid, number)

    with _handled(_SIGNALS, pass_on):
        yield came
        process.wait()
    end = time.monotonic() + _WAIT_SECONDS
    with contextlib.suppress(ProcessLookupError):  # the group is empty: what we wait for
        while came:
            os.killpg(process.pid, 0 if time.monotonic() < end else signal.SIGKILL)
            time.sleep(0.1)


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
