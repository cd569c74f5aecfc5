"""Where compiled kernels are kept: a change of what they call, a package and a home that cannot be written."""

import os
import re
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


SUM = """
from vasg.machine.compiled import njit

@njit(cache=True)
def total(x):
    found = x[0]
    for i in range(1, x.size):
        found = found * 2 + x[i]
    return found
"""
SLOWLY = """
import sys, time
import numpy as np
import kernels
from numba.core import caching

index = caching.IndexDataCacheFile._load_index

def slowly(self):
    found = index(self)
    time.sleep(0.5)  # long enough for the others to read the same
    return found

caching.IndexDataCacheFile._load_index = slowly
print(kernels.total(np.arange(1, 5).astype(sys.argv[1])))
"""


def test_processes_that_compile_a_kernel_together_leave_each_type_its_own_code(tmp_path: Path) -> None:
    (tmp_path / "kernels.py").write_text(SUM)
    given = dict(os.environ, PYTHONPATH=f"{HOME}:{tmp_path}", NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    kinds = ["int64", "float64", "uint64", "float32"]
    for _ in range(2):  # together, then from what they left
        running = [
            subprocess.Popen([sys.executable, "-c", SLOWLY, kind], env=given, stdout=subprocess.PIPE, text=True)
            for kind in kinds
        ]
        assert [float(process.communicate()[0]) for process in running] == [26.0] * len(kinds)
    assert len(list((tmp_path / "cache").rglob("*.nbc"))) == len(kinds)


TRAINED = """
import hashlib
from threading import Event
import numpy as np
from vasg.training import bpr, kernel

generator = np.random.default_rng(0)
rows = (0.3 * generator.normal(size=(500, 17))).astype(np.float32)
walks, negatives = generator.integers(0, 500, (64, 40)), generator.integers(0, 500, (64, 16))
gradient, sums = np.zeros((500, 18), np.float32), np.zeros(4)
kernel.skip_gram(
    rows, walks, negatives, np.arange(500) > 100, 3, np.float32(0.9), np.float32(5), gradient, sums
)
pairs = np.unique(generator.integers(0, 60, (500, 2)), axis=0)
model = bpr.start(60, rows[:60], 0)
bpr.run_epoch(model, pairs, 60, 0, 0.01, 0, Event())
print(hashlib.sha256(gradient.tobytes() + model.theta.tobytes() + model.embedding.tobytes()).hexdigest())
"""


def test_a_kernel_from_the_cache_rounds_as_the_one_that_was_compiled(tmp_path: Path) -> None:
    given = dict(os.environ, PYTHONPATH=str(HOME), NUMBA_CACHE_DIR=str(tmp_path / "cache"), OMP_NUM_THREADS="1")
    found = [
        subprocess.run([sys.executable, "-c", TRAINED], env=given, check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert found[0] == found[1] != ""


@pytest.mark.fault
def test_without_locks_there_is_no_cache_and_that_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "kernels.py").write_text(SUM)
    refused = "import fcntl, errno\ndef flock(*_): raise OSError(errno.ENOLCK, 'No locks')\nfcntl.flock = flock\n"
    script = (
        refused
        + "import numpy as np, kernels\nfor kind in ('i8', 'f8'): print(kernels.total(np.arange(1, 5).astype(kind)))"
    )
    given = dict(os.environ, PYTHONPATH=f"{HOME}:{tmp_path}", NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    done = subprocess.run([sys.executable, "-c", script], env=given, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["26", "26.0"]
    assert done.stderr.count("kernels are compiled anew by each process") == 1
    assert not list((tmp_path / "cache").rglob("*.nb?"))


def test_every_kernel_is_compiled_by_what_keeps_caches_whole() -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in (HOME / "vasg").rglob("*.py")}
    direct = {
        path.name for path, text in sources.items() if re.search(r"^\s*(import numba|from numba import)\b", text, re.M)
    }
    # the last two: types of instructions, and what workers are forked with
    assert direct == {"compiled.py", "bits.py", "python_daemon.py"}
