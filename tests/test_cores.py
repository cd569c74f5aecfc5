"""Threads go by the cores that a process may use, not by those its host has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vasg.machine import cores

ASKED = "from vasg.machine.cores import cores; print(cores())"


def test_cores_that_the_scheduler_does_not_give_do_not_count() -> None:
    one = min(os.sched_getaffinity(0))
    command = ["taskset", "-c", str(one), sys.executable, "-c", ASKED]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "1\n"


@pytest.mark.parametrize(
    ("quota", "expected"), [("max 100000", 64), ("250000 100000", 3), ("1000 100000", 1), ("9900000 100000", 64)]
)
def test_a_container_has_what_its_quota_pays_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, expected: int
) -> None:
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    monkeypatch.setattr(cores, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert cores.cores.__wrapped__() == expected
