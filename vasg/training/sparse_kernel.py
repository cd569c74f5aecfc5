"""Products of a matrix that is mostly zero, for a CPU: of a hidden layer ReLU and dropout leave a quarter or less.

The other matrix comes in tiles that fit the L1 cache, and only the nonzeros are multiplied. Both products take a
``part`` of ``parts``: together they write all of the result, each in a thread of its own.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vasg.machine.compiled import njit
from vasg.machine.registers import WIDTH, add_products, add_rows

_DEPTH = 64  # rows of a tile, which makes it 24 KiB
_ROWS = 512  # rows of the result on their way at a time: 192 KiB of the L2 cache


class Sparse(NamedTuple):
    """The nonzeros of a matrix [n, k], by blocks of as many columns as a tile has rows, then by row."""

    start: NDArray[np.int64]  # [blocks * n + 1] where those of a block and row begin
    place: NDArray[np.int32]  # [z] where in a tile the row begins that each is multiplied with
    value: NDArray[np.float32]  # [z]


def compressed(x: NDArray[np.float32]) -> Sparse:
    """``x`` [n, k] without its zeros."""
    start = np.zeros(-(-x.shape[1] // _DEPTH) * x.shape[0] + 1, np.int64)
    _count(x, start)
    # one more than there are: what is written last may be a zero, which the next would have replaced
    place, value = np.empty(start[-1] + 1, np.int32), np.empty(start[-1] + 1, np.float32)
    _fill(x, place, value)
    return Sparse(start, place, value)


@njit(nogil=True, cache=True)
def product(a: Sparse, b: Any, out: Any, part: int, parts: int) -> None:
    """out = ``a`` [n, k] @ ``b`` [k, o], both dense matrices float32 in any memory order; a part is some columns."""
    (k, o), n = b.shape, len(out)
    tile, rows = np.zeros((_DEPTH, WIDTH), np.float32), np.empty((_ROWS, WIDTH), np.float32)
    for begin in range(part * WIDTH, o, parts * WIDTH):
        end = min(begin + WIDTH, o)
        for top in range(0, n, _ROWS):
            bottom = min(top + _ROWS, n)
            rows[:] = 0
            for block in range((k + _DEPTH - 1) // _DEPTH):
                first, last = block * _DEPTH, min(block * _DEPTH + _DEPTH, k)
                _copy(tile[: last - first, : end - begin], b[first:last, begin:end])
                for i in range(top, bottom):
                    at = block * n + i
                    add_rows(rows, (i - top) * WIDTH, tile, a.place, a.value, a.start[at], a.start[at + 1])
            _copy(out[top:bottom, begin:end], rows[: bottom - top, : end - begin])


@njit(nogil=True, cache=True)
def slopes(a: Sparse, b: Any, change: Any, out: Any, part: int, parts: int) -> None:
    """``change`` [n, o] @ ``b``.T into ``out`` [n, k] where ``a`` is not zero: its gradient; a part is some blocks."""
    (k, o), n = b.shape, len(change)
    tile, rows = np.zeros((_DEPTH, WIDTH), np.float32), np.zeros((n, WIDTH), np.float32)
    found, blocks = np.zeros(len(a.place), np.float32), (k + _DEPTH - 1) // _DEPTH
    for begin in range(0, o, WIDTH):
        end = min(begin + WIDTH, o)
        rows[:, end - begin :] = 0
        _copy(rows[:, : end - begin], change[:, begin:end])
        for block in range(part, blocks, parts):
            first, last = block * _DEPTH, min(block * _DEPTH + _DEPTH, k)
            _copy(tile[: last - first, : end - begin], b[first:last, begin:end])
            for i in range(n):
                at = block * n + i
                add_products(found, rows, i * WIDTH, tile, a.place, a.start[at], a.start[at + 1])
    for block in range(part, blocks, parts):
        for i in range(n):
            for p in range(a.start[block * n + i], a.start[block * n + i + 1]):
                out[i, block * _DEPTH + a.place[p] // WIDTH] = found[p]


@njit(nogil=True, cache=True)
def _count(x: Any, start: Any) -> None:
    n, k = x.shape
    total, at = 0, 0
    for first in range(0, k, _DEPTH):
        for i in range(n):
            for j in range(first, min(first + _DEPTH, k)):
                total += x[i, j] != 0
            at += 1
            start[at] = total


@njit(nogil=True, cache=True)
def _fill(x: Any, place: Any, value: Any) -> None:
    n, k = x.shape
    at = 0
    for first in range(0, k, _DEPTH):
        for i in range(n):
            for j in range(first, min(first + _DEPTH, k)):  # written always, kept where not zero: no branch to guess
                place[at], value[at] = (j - first) * WIDTH, x[i, j]
                at += x[i, j] != 0


@njit(nogil=True, cache=True)
def _copy(target: Any, source: Any) -> None:
    """target[:] = source, along columns where either has those in one piece in memory."""
    rows, columns = target.shape
    if source.strides[1] <= source.strides[0] and target.strides[1] <= target.strides[0]:
        for i in range(rows):
            for j in range(columns):
                target[i, j] = source[i, j]
    else:
        for j in range(columns):
            for i in range(rows):
                target[i, j] = source[i, j]
