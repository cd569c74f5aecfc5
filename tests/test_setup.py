"""Set-up on machines that lack something: it says exactly what to run, and touches nothing before that."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ["bash", "cat", "dirname", "grep", "head", "id", "ls", "mktemp", "rm", "sed", "sha256sum", "tail", "tr"]

Setup = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    """``setup(java="17", root=True, ...)`` runs scripts/setup.sh in a bare checkout, with nothing on PATH but what is named."""
    checkout, programs = tmp_path / "checkout", tmp_path / "bin"
    checkout.mkdir()
    programs.mkdir()
    shutil.copytree(ROOT / "scripts", checkout / "scripts")
    for name in ("requirements.txt", "requirements.lock", "setup.py"):
        shutil.copy(ROOT / name, checkout)
    for name in TOOLS:
        (programs / name).symlink_to(str(shutil.which(name)))

    def program(name: str, text: str) -> None:
        path = programs / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)

    def run(
        java: str = "", compiler: bool = True, python: bool = True, root: bool = False, apt: str = ""
    ) -> subprocess.CompletedProcess[str]:
        program("id", f"echo {0 if root else 1000}")
        if java:
            program("java", f"echo 'openjdk version \"{java}.0.1\"' >&2")
        if compiler:
            program("c++", "exit 1")
        if python:
            program("python3.11", f'exec {sys._base_executable} "$@"')  # type: ignore[attr-defined]
        if apt:
            program("apt-get", apt)
        return subprocess.run(
            ["bash", "scripts/setup.sh"], cwd=checkout, env={"PATH": str(programs), "HOME": str(tmp_path)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    yield run
    assert not (checkout / ".venv").exists(), "something was installed before all was there"


def test_without_root_it_names_the_command(setup: Setup) -> None:
    answer = setup(compiler=False)
    assert answer.returncode == 78
    assert "As root run: apt-get update && apt-get install -y --no-install-recommends openjdk-17-jre-headless g++" in (
        answer.stderr
    )


def test_without_the_right_python_it_says_how_to_get_it(setup: Setup) -> None:
    answer = setup(python=False, java="17")
    assert answer.returncode == 78
    assert "Python 3.11 was not found" in answer.stderr
    assert "make PYTHON=" in answer.stderr


def test_root_installs_and_a_failure_shows_its_end_and_its_log(setup: Setup) -> None:
    answer = setup(root=True, apt="echo E: no network; exit 100")
    assert answer.returncode == 78
    assert "installing openjdk-17-jre-headless" in answer.stdout
    assert "E: no network" in answer.stderr
    log = Path(answer.stderr.split()[-1])
    assert "E: no network" in log.read_text()
    log.unlink()


def test_another_java_that_stays_in_front_is_pointed_out(setup: Setup) -> None:
    answer = setup(root=True, java="25", apt="exit 0")
    assert answer.returncode == 78
    assert "Spark needs Java 17 or 21, but the java on PATH is version 25; set JAVA_HOME" in answer.stderr
