"""Scores of users and products as one matrix product in which a score is the same number wherever it stands.

At the edges of its blocks BLAS adds up an inner product in another order than inside them, on some processors. Then equal
vectors have scores that differ in the last bit, where ties must tie and no score may depend on who else is in its block. Here
every score is the sum of the same numbers in the same order, at nearly the same speed: blocks have one size.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

STEP = 4  # rows, and dimensions, at a time: both come in multiples of it
_COLUMNS, _DEPTH = 512, 128  # of a block, which stays in the L2 cache; four rows of it in L1
_STRIDE = _COLUMNS + 16  # numbers from row to row: rows a power of two apart would share places of the L1 cache
# of the matrix that is turned, at a time: so that products are read line after line, and written within the cache
_SMALL, _WIDE = 64, 128  # products, dimensions

Floats = NDArray[np.float32]


def padded(vectors: Floats) -> Floats:
    """[n, d'] with zeros up to a multiple of STEP dimensions."""
    return np.pad(vectors, ((0, 0), (0, -vectors.shape[1] % STEP)))


def packed(vectors: NDArray[Any]) -> Floats:
    """[blocks, d', _STRIDE] of vectors [n, d]: blocks of products side by side, dimensions below each other, zeros around."""
    count, dim = vectors.shape
    found = np.zeros((-(-count // _COLUMNS), dim + -dim % STEP, _STRIDE), np.float32)
    _turn(singles(vectors), found)
    return found


def singles(values: NDArray[Any]) -> Floats:
    """``values``, finite, in single precision: of half precision the same numbers as numpy's, at a tenth of its time."""
    if values.dtype != np.float16:
        return np.asarray(values, np.float32)
    found = np.empty(values.shape, np.float32)
    _widen(np.ascontiguousarray(values).reshape(-1).view(np.uint16), found.reshape(-1).view(np.uint32))
    found *= np.float32(2.0**112)  # the exponents of the two precisions count from 15 and from 127
    return found


@numba.njit(nogil=True, cache=True)
def _widen(halves: Any, found: Any) -> None:
    for i in range(len(halves)):
        half = np.uint32(halves[i])
        found[i] = (half & np.uint32(0x8000)) << np.uint32(16) | (half & np.uint32(0x7FFF)) << np.uint32(13)


@numba.njit(nogil=True, cache=True)
def _turn(vectors: Any, found: Any) -> None:
    count, dim = vectors.shape
    for first in range(0, count, _SMALL):
        block, left = first // _COLUMNS, first % _COLUMNS
        for top in range(0, dim, _WIDE):
            for j in range(min(_SMALL, count - first)):
                vector = vectors[first + j]
                for k in range(top, min(dim, top + _WIDE)):
                    found[block, k, left + j] = vector[k]


@numba.njit(nogil=True, cache=True, fastmath={"contract", "nsz"})
def product(users: Any, blocks: Any, out: Any) -> None:
    """``out`` [n, w] becomes users [n, d'] times the ``packed`` vectors of w products; n is a multiple of STEP."""
    count, depth = users.shape
    out[:] = np.float32(0.0)
    sums = np.zeros((STEP, _STRIDE), np.float32)
    s0, s1, s2, s3 = sums[0], sums[1], sums[2], sums[3]
    for block in range(blocks.shape[0]):
        left = block * _COLUMNS
        size = min(_COLUMNS, out.shape[1] - left)
        for top in range(0, depth, _DEPTH):
            for row in range(0, count, STEP):
                for i in range(STEP):
                    for j in range(size):
                        sums[i, j] = out[row + i, left + j]
                for k in range(top, min(depth, top + _DEPTH), STEP):
                    p0, p1, p2, p3 = blocks[block, k], blocks[block, k + 1], blocks[block, k + 2], blocks[block, k + 3]
                    a0, a1, a2, a3 = users[row, k], users[row, k + 1], users[row, k + 2], users[row, k + 3]
                    b0, b1, b2, b3 = (
                        users[row + 1, k],
                        users[row + 1, k + 1],
                        users[row + 1, k + 2],
                        users[row + 1, k + 3],
                    )
                    c0, c1, c2, c3 = (
                        users[row + 2, k],
                        users[row + 2, k + 1],
                        users[row + 2, k + 2],
                        users[row + 2, k + 3],
                    )
                    d0, d1, d2, d3 = (
                        users[row + 3, k],
                        users[row + 3, k + 1],
                        users[row + 3, k + 2],
                        users[row + 3, k + 3],
                    )
                    for j in range(_COLUMNS):  # a constant: whole vectors, nothing left over
                        x0, x1, x2, x3 = p0[j], p1[j], p2[j], p3[j]
                        s0[j] += a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3
                        s1[j] += b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3
                        s2[j] += c0 * x0 + c1 * x1 + c2 * x2 + c3 * x3
                        s3[j] += d0 * x0 + d1 * x1 + d2 * x2 + d3 * x3
                for i in range(STEP):
                    for j in range(size):
                        out[row + i, left + j] = sums[i, j]


@numba.njit(nogil=True, cache=True)
def raise_to(rows: Any, scores: Any, out: Any) -> None:
    """Raise row ``rows[i]`` of ``out`` [any, w] to the scores [n, w] in row i that are higher."""
    for i in range(len(rows)):
        row = out[rows[i]]
        for j in range(len(row)):
            row[j] = max(row[j], scores[i, j])
