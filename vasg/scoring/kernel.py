"""What happens to a tile of scores: known products are masked, candidates counted, the best kept.

A tile is [users, width] float32, contiguous, its width a multiple of ``bits.WIDTH``; its column j is column
``first + j`` of the catalogue. Columns come in ascending order, and the order of columns breaks ties: of equal scores
the lower column wins. A score of -inf is no candidate.
"""

from typing import Any

import numpy as np

from vasg.machine import bits
from vasg.machine.compiled import njit

_WIDTH = bits.WIDTH


def capacity(k: int) -> int:
    """Places of a row's buffer for its ``k`` best: a multiple of the width, and at least that much more than ``k``."""
    return -(-(k + 2 * _WIDTH) // _WIDTH) * _WIDTH if k else 0


@njit(nogil=True, cache=True)
def mask(scores: Any, first: int, known: Any, cursor: Any, end: Any) -> None:
    """Set the known products of each row to -inf.

    ``known[cursor[row]:end[row]]`` are the row's known columns, ascending, from this tile on; ``cursor`` moves past it.
    """
    width = scores.shape[1]
    for row in range(scores.shape[0]):
        at = cursor[row]
        while at < end[row] and known[at] < first + width:
            scores[row, known[at] - first] = -np.inf
            at += 1
        cursor[row] = at


@njit(nogil=True, cache=True)
def count(scores: Any, row: Any, score: Any, above: Any, tied: Any) -> None:
    """Add to ``above`` and ``tied`` of each pair the scores of its row that are above or equal its own."""
    for pair in range(row.size):
        begin = row[pair] * scores.shape[1]
        higher, reached = 0, 0
        for at in range(begin, begin + scores.shape[1], _WIDTH):
            higher += bits.count(bits.above(scores, at, score[pair]))
            reached += bits.count(bits.reaching(scores, at, score[pair]))
        above[pair] += higher
        tied[pair] += reached - higher


@njit(nogil=True, cache=True)
def select(scores: Any, first: int, k: int, limit: Any, filled: Any, values: Any, columns: Any) -> None:
    """Keep the candidates for the ``k`` best of each row.

    ``values`` and ``columns`` [users, capacity(k)] hold ``filled`` candidates, columns ascending, -inf behind them; a
    score must exceed ``limit``, the k-th best when the buffer was last full (-inf at first), to come in.
    """
    width = scores.shape[1]
    for row in range(scores.shape[0]):
        bar, n = limit[row], filled[row]
        for begin in range(0, width, _WIDTH):
            hits = bits.above(scores, row * width + begin, bar)
            if hits == 0:
                continue
            if n + _WIDTH > values.shape[1]:
                bar, n = keep_best(values, columns, row, k, bar), k
                hits = bits.above(scores, row * width + begin, bar)
            while hits:
                j = begin + bits.lowest(hits)
                values[row, n], columns[row, n] = scores[row, j], first + j
                n += 1
                hits &= hits - np.uint64(1)
        limit[row], filled[row] = bar, n


@njit(nogil=True, cache=True)
def keep_best(values: Any, columns: Any, row: int, k: int, bar: Any) -> Any:
    """Move the ``k`` best of a row, which are above or equal ``bar``, to its front in the order they were in.

    Returns the k-th best value. It is found by bisection over the bits of a float32, which order like integers once
    those of negative numbers are turned round.
    """
    begin, end = row * values.shape[1], (row + 1) * values.shape[1]
    low, high = _key(np.float32(bar)), _key(np.float32(np.inf))
    reached = 0  # values at or above that of the key ``low``
    while low < high and reached != k:
        middle = (low + high + 1) >> 1
        n = _reaching(values, begin, end, _value(middle))
        if n >= k:
            low, reached = middle, n
        else:
            high = middle - 1
    worst = _value(low)
    ties, n = k, 0  # how many of the values level with the worst have a place
    for at in range(begin, end, _WIDTH):
        ties -= bits.count(bits.above(values, at, worst))
    for at in range(begin, end, _WIDTH):
        hits = bits.reaching(values, at, worst)
        while hits:
            j = at - begin + bits.lowest(hits)
            hits &= hits - np.uint64(1)
            if values[row, j] > worst or ties > 0:
                ties -= values[row, j] == worst
                values[row, n], columns[row, n] = values[row, j], columns[row, j]
                n += 1
    values[row, k:] = -np.inf
    return values[row, :k].min()


@njit(inline="always")
def _key(value: Any) -> Any:
    """The bits of a float32 as an integer that orders as the values do."""
    pattern = value.view(np.int32)
    return pattern ^ ((pattern >> 31) & 0x7FFFFFFF)


@njit(inline="always")
def _value(key: Any) -> Any:
    """The float32 of a key."""
    return np.int32(key ^ ((key >> 31) & 0x7FFFFFFF)).view(np.float32)


@njit(inline="always")
def _reaching(values: Any, begin: int, end: int, bar: Any) -> Any:
    n = 0
    for at in range(begin, end, _WIDTH):
        n += bits.count(bits.reaching(values, at, bar))
    return n


@njit(nogil=True, cache=True)
def finish(k: int, filled: Any, limit: Any, values: Any, columns: Any) -> None:
    """Leave the ``k`` best of each row in front, in ascending column order; free places hold -inf."""
    for row in range(values.shape[0]):
        if filled[row] > k:
            keep_best(values, columns, row, k, limit[row])
