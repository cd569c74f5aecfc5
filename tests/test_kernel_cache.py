"""Where compiled kernels are kept: a change of what they call, a package and a home that cannot be written."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from vasg.machine import kernel_cache
from vasg.pipeline.runner import HOME, environment

DRAWS = (
    "import vasg.randomness as r; print(__import__('os').environ['NUMBA_CACHE_DIR'], r.normal(1, 'sample', 2, [3])[0])"
)


def drawn(tree: Path, **variables: str) -> list[str]:
    given = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    command = [sys.executable, "-P", "-c", DRAWS]
    return subprocess.run(
        command, env=given | {"PYTHONPATH": str(tree)} | variables, check=True, capture_output=True, text=True
    ).stdout.split()


def test_a_kernel_does_not_outlive_what_it_calls(tmp_path: Path) -> None:
    shutil.copytree(HOME / "vasg", tmp_path / "vasg", ignore=shutil.ignore_patterns("__pycache__"))
    folder, number = drawn(tmp_path)
    assert Path(folder).parent == tmp_path / "vasg" / "__pycache__"
    assert list(Path(folder).rglob("*.nbi"))
    assert drawn(tmp_path, NUMBA_CACHE_DIR=folder) == [folder, number]  # as a child that inherits it
    chosen = str(tmp_path / "chosen")
    assert drawn(tmp_path, NUMBA_CACHE_DIR=chosen) == [chosen, number]
    with (tmp_path / "vasg" / "walks" / "alias.py").open("a") as file:
        file.write("# another version\n")
    other, same = drawn(tmp_path, NUMBA_CACHE_DIR=folder)
    assert other != folder
    assert same == number


def test_where_nothing_can_be_written_a_folder_of_our_own_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(kernel_cache, "_PACKAGE", tmp_path / "file")  # in which there can be no folder
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(kernel_cache.tempfile, "tempdir", None)
    folder = kernel_cache._folder("vasg-kernels-0")
    assert folder == tmp_path / f"vasg-kernels-0-{os.getuid()}" == kernel_cache._folder("vasg-kernels-0")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o777)  # others could have put something there
    other = kernel_cache._folder("vasg-kernels-0")
    assert other.parent == tmp_path
    assert other != folder
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kernel_cache._folder("vasg-kernels-0") == tmp_path / ".cache" / "vasg" / "vasg-kernels-0"


def test_no_module_comes_from_the_folder_of_the_caller(tmp_path: Path) -> None:
    (tmp_path / "numba.py").write_text("raise SystemExit('planted')")
    command = [sys.executable, "-m", "vasg.randomness"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
