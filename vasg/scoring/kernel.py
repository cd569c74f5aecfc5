"""What happens to a tile of scores: known products are masked, candidates counted, the best kept.

A tile is [users, width] float32; its column j is column ``first + j`` of the catalogue. Columns come in ascending order,
and the order of columns breaks ties: of equal scores the lower column wins.
"""

from typing import Any

import numba
import numpy as np

STRIDE = 64  # scores that are looked at together, and skipped together when none is good enough


@numba.njit(nogil=True, cache=True)
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


@numba.njit(nogil=True, cache=True)
def count(scores: Any, width: int, row: Any, score: Any, above: Any, tied: Any) -> None:
    """Add to ``above`` and ``tied`` of each pair the first ``width`` scores of its row that are above or equal its own."""
    for pair in range(row.size):
        values, own = scores[row[pair], :width], score[pair]
        higher, reached = np.int32(0), np.int32(0)
        for j in range(width):
            higher += np.int32(values[j] > own)
            reached += np.int32(values[j] >= own)
        above[pair] += higher
        tied[pair] += reached - higher


@numba.njit(nogil=True, cache=True)
def select(scores: Any, width: int, first: int, k: int, limit: Any, filled: Any, values: Any, columns: Any) -> None:
    """Keep the candidates for the ``k`` best of each row.

    ``values`` and ``columns`` [users, capacity > k + STRIDE] hold ``filled`` candidates, columns ascending; a score must
    exceed ``limit``, the k-th best when the buffer was last full (-inf at first), to come in.
    """
    capacity = values.shape[1]
    for row in range(scores.shape[0]):
        bar, n = limit[row], filled[row]
        kept, where = values[row], columns[row]
        for begin in range(0, width, STRIDE):
            part = scores[row, begin : min(width, begin + STRIDE)]
            hits = np.int32(0)
            for j in range(part.size):
                hits += np.int32(part[j] > bar)
            if hits == 0:
                continue
            if n + part.size > capacity:
                bar = keep_best(kept[:n], where[:n], k)
                n = k
            for j in range(part.size):
                if part[j] > bar:
                    kept[n], where[n] = part[j], first + begin + j
                    n += 1
        limit[row], filled[row] = bar, n


@numba.njit(nogil=True, cache=True)
def keep_best(values: Any, columns: Any, k: int) -> Any:
    """Move the ``k`` best of the buffer to its front, in the order they were in; returns the k-th best value.

    The k-th best is found by bisection over the bits of a float32, which order like integers once those of negative
    numbers are turned round: 32 counts that the compiler vectorises, several times faster than a partition.
    """
    for j in range(values.size):
        values[j] += np.float32(0.0)  # -0.0 and 0.0 are equal scores
    keys = values.view(np.int32).copy()
    for j in range(keys.size):
        keys[j] ^= (keys[j] >> 31) & 0x7FFFFFFF
    low, high = np.int64(keys.min()), np.int64(keys.max())
    while low < high:
        middle = (low + high + 1) >> 1
        if _reaching(keys, middle) >= k:
            low = middle
        else:
            high = middle - 1
    worst = np.int32(low)
    ties = k - _reaching(keys, np.int64(worst) + 1)
    n = 0
    for j in range(keys.size):  # without a branch: what is not kept is overwritten by the next
        values[n], columns[n] = values[j], columns[j]
        n += (keys[j] > worst) | ((keys[j] == worst) & (ties > 0))
        ties -= keys[j] == worst
        if n == k:
            break
    return values[:n].min()


@numba.njit(nogil=True, cache=True)
def _reaching(keys: Any, bar: Any) -> Any:
    n = np.int32(0)
    for j in range(keys.size):
        n += np.int32(keys[j] >= bar)
    return n


@numba.njit(nogil=True, cache=True)
def finish(k: int, filled: Any, values: Any, columns: Any) -> None:
    """Leave the ``k`` best of each row in front, in ascending column order; free places hold -inf."""
    for row in range(values.shape[0]):
        if filled[row] > k:
            keep_best(values[row, : filled[row]], columns[row, : filled[row]], k)
            filled[row] = k
        values[row, filled[row] :] = -np.inf
