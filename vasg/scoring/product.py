"""Scores of users and products as one matrix product in which a score is the same number wherever it stands.

At the edges of its blocks BLAS adds up an inner product in another order than inside them, on some processors. Then equal
vectors have scores that differ in the last bit, where ties must tie and no score may depend on who else is in its block. Here
every score is the sum of the same numbers in the same order, dimension after dimension.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vasg.machine.compiled import njit
from vasg.machine.prefetch import prefetch
from vasg.machine.registers import COLUMNS, ROWS, multiply

_DEPTH = 128  # of what is added up at a time: its columns stay in the L1 cache
# dimensions of what is turned at a time: products are read line after line, and written within the L1 cache
_WIDE = 128
_LINE = 16  # floats of a cache line

Floats = NDArray[np.float32]


def packed(vectors: NDArray[Any]) -> Floats:
    """[blocks, d, COLUMNS] of vectors [n, d]: products side by side, dimensions below each other, zeros behind the last."""
    count, dim = vectors.shape
    shape = -(-count // COLUMNS), dim, COLUMNS
    room = np.empty(int(np.prod(shape)) + _LINE, np.float32)
    begin = -room.ctypes.data // room.itemsize % _LINE  # where a cache line does
    found = room[begin : begin + len(room) - _LINE].reshape(shape)
    for block, first in zip(found, range(0, count, COLUMNS), strict=True):  # what is made single stays in the cache
        _turn(singles(vectors[first : first + COLUMNS]), block)
    found[count // COLUMNS :, :, count % COLUMNS :] = 0
    return found


def singles(values: NDArray[Any]) -> Floats:
    """``values``, finite, in single precision: of half precision the same numbers as numpy's, at a tenth of its time."""
    if values.dtype != np.float16:
        return np.asarray(values, np.float32)
    found = np.empty(values.shape, np.float32)
    _widen(np.ascontiguousarray(values).reshape(-1).view(np.uint16), found.reshape(-1).view(np.uint32))
    found *= np.float32(2.0**112)  # the exponents of the two precisions count from 15 and from 127
    return found


@njit(nogil=True, cache=True)
def _widen(halves: Any, found: Any) -> None:
    for i in range(len(halves)):
        half = np.uint32(halves[i])
        found[i] = (half & np.uint32(0x8000)) << np.uint32(16) | (half & np.uint32(0x7FFF)) << np.uint32(13)


@njit(nogil=True, cache=True)
def _turn(vectors: Any, block: Any) -> None:
    count, dim = vectors.shape
    for top in range(0, dim, _WIDE):
        for j in range(count):
            for k in range(top, min(dim, top + _WIDE)):
                block[k, j] = vectors[j, k]


@njit(nogil=True, cache=True)
def product(users: Any, blocks: Any, out: Any) -> None:
    """``out`` [n, w] becomes users [n, d] times the ``packed`` vectors [w / COLUMNS, d, COLUMNS] of w products.

    n is a multiple of ROWS and w one of COLUMNS.
    """
    (count, depth), width = users.shape, out.shape[1]
    if out.shape[0] != count or count % ROWS or width != len(blocks) * COLUMNS or depth != blocks.shape[1]:
        raise ValueError("product of matrices whose shapes do not fit")
    rows, columns, scores = users.reshape(users.size), blocks.reshape(blocks.size), out.reshape(out.size)
    for top in range(0, depth, _DEPTH):
        size = min(depth - top, _DEPTH)
        for block in range(len(blocks)):
            begin = (block * depth + top) * COLUMNS
            following, floats = begin + depth * COLUMNS, size * COLUMNS  # what the next block begins with, and how much
            for row in range(0, count, ROWS):
                corner = row * width + block * COLUMNS
                multiply(
                    rows, row * depth + top, depth, 1, columns, begin, COLUMNS, size, scores, corner, width, top > 0
                )
                for at in range(floats * row // count, floats * (row + ROWS) // count, _LINE):
                    prefetch(columns, following + at)


@njit(nogil=True, cache=True)
def raise_to(rows: Any, scores: Any, out: Any) -> None:
    """Raise row ``rows[i]`` of ``out`` [any, w] to the scores [n, w] in row i that are higher."""
    for i in range(len(rows)):
        row = out[rows[i]]
        for j in range(len(row)):
            row[j] = max(row[j], scores[i, j])
