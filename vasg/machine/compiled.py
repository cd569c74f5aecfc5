"""Numba's compilers, for kernels whose cache several processes fill at a time.

Numba reads the index of a kernel's cache, writes it, and writes the code beside it, and lets others in between: two
processes that compile the same kernel for other types take the same file, and a third one runs the code of the wrong types.
Here one process at a time does so.
"""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
from numba.core import caching

njit = numba.njit
vectorize = numba.vectorize


def _alone(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method of a kernel's cache, while no other process uses one in the same folder."""

    def locked(cache: Any, *arguments: Any) -> Any:
        with _lock(Path(cache._cache_path, ".lock")) as held:
            # without a lock there is no cache: each process compiles for itself
            return method(cache, *arguments) if held else None

    return locked


@contextmanager
def _lock(path: Path) -> Iterator[bool]:
    try:
        file = path.open("w")
    except OSError:
        yield False
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            yield False
            return
        yield True


for _name in ("save", "load"):
    setattr(caching.IndexDataCacheFile, _name, _alone(getattr(caching.IndexDataCacheFile, _name)))
