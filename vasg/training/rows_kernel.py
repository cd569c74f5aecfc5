"""What a step does with the rows of its nodes, compiled for a CPU: each row is read and written once."""

from typing import Any

import numpy as np

from vasg.machine.compiled import njit, vectors
from vasg.machine.prefetch import prefetch
from vasg.randomness import GOLDEN

_EPSILON = np.float32(1e-8)
_AHEAD = 4  # rows that are asked for before their turn
_FURTHER = 16  # the same where only a copy is made of each
_LINE = 16  # numbers in a cache line


@njit(nogil=True, cache=True)
def distinct(nodes: Any, owners: int, found: Any, index: Any) -> Any:
    """Number the distinct ``nodes`` [n] int64 from 0, those of owner 0 (node % owners) first, then those of owner 1, ...

    ``found`` [n] receives them in this order, ``index`` [n] the number of each; returns how many each owner has. A hash
    table of the batch's size, so that the work does not grow with the number of all nodes.
    """
    bits = 4
    while (1 << bits) < 2 * nodes.size:
        bits += 1
    shift, mask = np.uint64(64 - bits), (1 << bits) - 1
    slots = np.full(1 << bits, -1, np.int32)  # number of the node in order of appearance
    first, count = np.empty(nodes.size, np.int64), 0
    counts = np.zeros(owners, np.int64)
    for i in range(nodes.size):
        node = nodes[i]
        slot = np.int64((np.uint64(node) * GOLDEN) >> shift)
        while slots[slot] >= 0 and first[slots[slot]] != node:
            slot = (slot + 1) & mask
        if slots[slot] < 0:
            slots[slot] = count
            first[count] = node
            count += 1
            counts[node % owners] += 1
        index[i] = slots[slot]
    ends = np.cumsum(counts)
    number = np.empty(count, np.int64)
    for k in range(count - 1, -1, -1):
        owner = first[k] % owners
        ends[owner] -= 1
        number[k] = ends[owner]
        found[ends[owner]] = first[k]
    for i in range(nodes.size):
        index[i] = number[index[i]]
    return counts


@njit(nogil=True, cache=True)
def merge(target: Any, filled: int, rows: Any, values: Any) -> Any:
    """Add ``values`` [n, d] to the ``rows`` [n] of ``target``, of which the first ``filled`` hold something.

    Rows are numbered in the order of their first appearance: the next to be filled is copied, needs no zeros. Returns how
    many are filled then.
    """
    for i in range(rows.size):
        row = rows[i]  # once: a compiler that reads it again for each element makes no vectors
        if row == filled:
            filled += 1
            for d in range(values.shape[1]):
                target[row, d] = values[i, d]
        else:
            for d in range(values.shape[1]):
                target[row, d] += values[i, d]
    return filled


@njit(nogil=True, cache=True)
def take(table: Any, rows: Any, found: Any) -> None:
    """``found`` [n, any] becomes the ``rows`` [n] of ``table``."""
    for i in range(rows.size):
        row, later = rows[i], rows[min(i + _FURTHER, rows.size - 1)]
        _ask_for(table, later)
        for d in range(table.shape[1]):
            found[i, d] = table[row, d]


@njit(nogil=True, cache=True, inline="always")
def _ask_for(table: Any, row: Any) -> None:
    """Prefetch a row of a contiguous table."""
    for d in range(0, table.shape[1], _LINE):
        prefetch(table, row * table.shape[1] + d)


@vectors
def adam(
    values: Any,
    mean: Any,
    square: Any,
    steps: Any,
    rows: Any,
    gradient: Any,
    learning_rate: Any,
    beta1: Any,
    beta2: Any,
) -> None:
    """``RowAdam.step`` on ``rows`` [m], each read and written once."""
    one, width = np.float32(1), values.shape[1]
    for i in range(rows.size):
        row, later = rows[i], rows[min(i + _AHEAD, rows.size - 1)]
        prefetch(steps, later)
        for table in (values, mean, square):
            _ask_for(table, later)
        steps[row] += one
        scale = learning_rate / (one - beta1 ** steps[row])
        correction = one / (one - beta2 ** steps[row])
        for d in range(width):
            g = gradient[i, d]
            mean[row, d] += (one - beta1) * (g - mean[row, d])
            square[row, d] = beta2 * square[row, d] + (one - beta2) * g * g
            values[row, d] -= scale * mean[row, d] / (np.sqrt(square[row, d] * correction) + _EPSILON)


@vectors
def adagrad(values: Any, sums: Any, rows: Any, gradient: Any, learning_rate: Any, pull: Any, prior: Any) -> None:
    """``RowAdagrad.step`` on ``rows`` [m]; ``prior`` [own, D], or None for zero. A row and its prior are read once."""
    dim = values.shape[1] - 1
    slope = np.empty(dim, np.float32)
    for i in range(rows.size):
        row, later, square = rows[i], rows[min(i + _AHEAD, rows.size - 1)], np.float32(0)
        prefetch(pull, later)
        _ask_for(sums, later)
        _ask_for(values, later)
        if prior is not None:
            _ask_for(prior, later)
        back = pull[row] * gradient[i, dim + 1]
        for d in range(dim):
            if prior is None:
                slope[d] = gradient[i, d] + back * values[row, d]
            else:
                slope[d] = gradient[i, d] + back * (values[row, d] - prior[row, d])
        for d in range(dim):  # nothing is written: where memory lies must not decide how a sum is rounded
            square += slope[d] * slope[d]
        sums[row, 0] += square / np.float32(dim)
        sums[row, 1] += gradient[i, dim] * gradient[i, dim]
        scale = learning_rate / (np.sqrt(sums[row, 0]) + _EPSILON)
        for d in range(dim):
            values[row, d] -= scale * slope[d]
        values[row, dim] -= learning_rate / (np.sqrt(sums[row, 1]) + _EPSILON) * gradient[i, dim]
