"""Passing signals on to process groups, until nothing of them is left or nothing more can be done."""

import os
import signal
import subprocess
import sys
from pathlib import Path

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


# Ends in order when told to, but not before its neighbour was told, too.
ENDS_WITH_ANOTHER = """
import pathlib, signal, sys, time
def end(*_):
    mine, others = map(pathlib.Path, sys.argv[1:])
    mine.touch()
    while not others.exists():
        time.sleep(0.01)
    mine.with_suffix(".ended").touch()
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(60)
"""
STAYS = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""


def ready(program: str, *arguments: str) -> int:
    """The group of a process that has got so far as to say so."""
    command = [sys.executable, "-c", program, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, process_group=0)
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    process.returncode = 0  # whoever ends the group waits for it
    return process.pid


def test_all_groups_are_told_before_any_is_waited_for_and_what_stays_is_killed(tmp_path: Path) -> None:
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    groups = [ready(ENDS_WITH_ANOTHER, one, other), ready(STAYS), ready(ENDS_WITH_ANOTHER, other, one), ready(STAYS)]
    signals.end_groups(groups, 3.0)
    assert {path.name for path in tmp_path.glob("*.ended")} == {"one.ended", "other.ended"}
    for group in groups:
        with pytest.raises(ProcessLookupError):
            os.killpg(group, 0)


@pytest.mark.parametrize(("returncode", "code"), [(0, 0), (65, 65), (-9, 137), (-15, 143)])
def test_a_code_is_that_of_a_shell(returncode: int, code: int) -> None:
    assert signals.shell_code(returncode) == code
