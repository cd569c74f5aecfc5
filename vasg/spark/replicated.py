"""Arrays that every Python worker of a host shares: written once, memory-mapped by all.

On a cluster ``SparkContext.addFile`` carries them to the executors; where the driver's own files can be seen (local
mode, executors on the driver's host) they are mapped in place.
"""

import atexit
import contextlib
import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyspark import SparkFiles
from pyspark.sql import SparkSession

_PREFIX = "vasg-replicated-"


@dataclass(frozen=True)
class Replicated:
    """A handle that travels to the tasks; ``open`` there gives the arrays, read-only."""

    paths: dict[str, str]

    def open(self) -> dict[str, NDArray[Any]]:
        """Memory-map all arrays on the machine this is called on."""
        return {name: _map(path) for name, path in self.paths.items()}


@contextmanager
def replicate(spark: SparkSession, arrays: Mapping[str, NDArray[Any]]) -> Iterator[Replicated]:
    """Give every host a copy of the arrays for as long as the context lasts.

    Every executor fetches every file the application ever added before its first task, also one that starts hours
    later: what was added stays on the driver's disk until the driver exits.
    """
    directory, held = _folder()
    added = not str(spark.sparkContext.master).startswith("local")
    if added:
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
    try:
        paths = {}
        for name, array in arrays.items():
            path = directory / f"{uuid.uuid4().hex}-{name}.npy"  # a name no other file of the application has
            np.save(path, array, allow_pickle=False)
            if added:
                spark.sparkContext.addFile(str(path))
            paths[name] = str(path)
        yield Replicated(paths)
    finally:
        if not added:
            shutil.rmtree(directory, ignore_errors=True)
            os.close(held)


def _folder() -> tuple[Path, int]:
    """A new folder in TMPDIR, and the handle whose lock on it says that its process lives. Removes what killed ones left."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's, or removed meanwhile
            held = _claim(left)
            if held is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(held)
    while True:
        directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
        with contextlib.suppress(FileNotFoundError):  # taken for one left behind, in between
            held = _claim(directory)
            if held is not None and directory.exists():
                return directory, held


def _claim(directory: Path) -> int | None:
    """A handle that holds the lock on a folder until it is closed or the process ends; None where another has it."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _map(path: str) -> NDArray[Any]:
    local = path if os.path.exists(path) else SparkFiles.get(os.path.basename(path))
    try:
        array: NDArray[Any] = np.load(local, mmap_mode="r", allow_pickle=False)
    except ValueError:  # an empty array cannot be mapped
        array = np.load(local, allow_pickle=False)
    return array
