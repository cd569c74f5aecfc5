"""Numba's compilers, for kernels whose cache several processes fill at a time.

Numba reads the index of a kernel's cache, writes it, and writes the code beside it, and lets others in between: two
processes that compile the same kernel for other types take the same file, and a third one runs the code of the wrong types.
Here one process at a time does so: all kernels take their decorators from this module, never from Numba.
"""

import fcntl
import os
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numba
from numba.core import caching

njit = numba.njit
vectorize = numba.vectorize
# A division that looked for zeros, as Python's does, would keep its loop from becoming vectors. What such a kernel calls must
# be inline="always": otherwise two compiled copies of it exist, which round differently, and which of them runs depends on
# whether the kernel came from the cache.
vectors = njit(
    nogil=True, cache=True, error_model="numpy", fastmath={"nnan", "ninf", "nsz", "arcp", "contract", "afn", "reassoc"}
)


def _alone(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method of a kernel's cache, while no other process uses one in the same folder."""

    def locked(cache: Any, *arguments: Any) -> Any:
        lock = _lock(Path(cache._cache_path, ".lock"))
        if lock is None:  # then there is no cache
            return None
        try:
            return method(cache, *arguments)
        finally:
            os.close(lock)

    return locked


def _lock(path: Path) -> int | None:
    """A descriptor that holds the lock until it is closed; None, and said so, where there can be none."""
    descriptor = None
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:  # a file system without locks
        _say_once(f"kernels are compiled anew by each process: {path}: {error.strerror}")
        if descriptor is not None:
            os.close(descriptor)
        return None
    return descriptor


@lru_cache
def _say_once(text: str) -> None:
    print(f"vasg: {text}; set NUMBA_CACHE_DIR to a folder on a local disk", file=sys.stderr)


for _name in ("save", "load"):
    setattr(caching.IndexDataCacheFile, _name, _alone(getattr(caching.IndexDataCacheFile, _name)))
