"""Passing signals on to a process group, until nothing of it is left or nothing more can be done."""

import os
import signal
import subprocess
import sys

import pytest

from vasg import signals

# The first process of a container, its spark-submit, which SIGTERM ends at once, and a driver that cleans up before.
FIRST_PROCESS = """
import ctypes, os, signal, sys
from vasg.signals import passed_on
PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1) == 0
with passed_on([sys.executable, "-c", sys.argv[1]], stdout=-1, text=True) as (process, came):
    assert process.stdout.readline() == "ready\\n"
    os.kill(os.getpid(), signal.SIGTERM)
    assert process.stdout.read() == "cleaned up\\n"
print(process.returncode, came)
"""
SUBMIT = """
import os, signal, sys, time
def end(*_):
    while os.getppid() == parent:
        time.sleep(0.01)
    print("cleaned up", flush=True)
    os._exit(0)
parent = os.getpid()
if os.fork() == 0:
    signal.signal(signal.SIGTERM, end)
    print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.fault
def test_orphans_that_come_to_the_first_process_of_a_container_are_not_waited_for_for_ever() -> None:
    command = [sys.executable, "-c", FIRST_PROCESS, SUBMIT]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (answer.stdout, answer.stderr) == ("-15 [15]\n", "")


# Leaves its group a dead member that nobody waits for: its parent is of another group, and only reads.
HAS_A_DEAD_MEMBER = """
import os, sys, time
group = os.getpid()
if os.fork() == 0:
    os.setpgid(0, 0)
    if os.fork():
        sys.stdin.read()
        os._exit(0)
    os.setpgid(0, group)
    print("ready", flush=True)
time.sleep(60)
"""


def test_what_not_even_sigkill_removes_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_WAIT_SECONDS", 0.2)
    monkeypatch.setattr(signals, "_KILLED_SECONDS", 0.2)
    read, write = os.pipe()
    command = [sys.executable, "-c", HAS_A_DEAD_MEMBER]
    with signals.passed_on(command, stdin=read, stdout=subprocess.PIPE) as (process, came):
        os.close(read)
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        os.kill(os.getpid(), signal.SIGTERM)
    os.killpg(process.pid, 0)
    os.close(write)
    assert (process.returncode, came) == (-signal.SIGTERM, [signal.SIGTERM])
