"""Alias tables: a neighbour drawn with probability proportional to its weight, by one random number.

Slot i of a node, chosen uniformly, gives its own neighbour i with probability threshold[i] / 2**32 and another one, its
alias, otherwise (Vose, "A linear algorithm for generating random numbers with a given distribution", IEEE TSE 1991).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vasg.machine.compiled import njit


def build(indptr: NDArray[Any], values: NDArray[Any], weights: NDArray[np.float32]) -> tuple[Any, Any]:
    """Alias tables of all nodes: ``threshold`` uint32 [slots] and ``alias`` [slots], the value of the other slot.

    Node n has the slots ``indptr[n]`` to ``indptr[n + 1]``; ``values`` and the positive ``weights`` [slots] stand beside
    each other. The result depends on the order of the slots and on nothing else.
    """
    threshold = np.empty(len(values), np.uint32)
    alias = np.empty_like(values)
    _build(indptr, values, weights, threshold, alias)
    return threshold, alias


@njit(nogil=True, cache=True)
def _build(indptr: Any, values: Any, weights: Any, threshold: Any, alias: Any) -> None:
    largest = np.int64(0)
    for node in range(len(indptr) - 1):
        largest = max(largest, np.int64(indptr[node + 1]) - np.int64(indptr[node]))
    share = np.empty(largest, np.float64)  # what slot i still has to give, in units of one slot
    stack = np.empty(largest, np.int64)  # slots below one unit grow from the front, the others from the back
    for node in range(len(indptr) - 1):
        begin, degree = np.int64(indptr[node]), np.int64(indptr[node + 1]) - np.int64(indptr[node])
        total = np.float64(0.0)
        for i in range(degree):
            total += np.float64(weights[begin + i])
        small, large = 0, degree
        for i in range(degree):
            share[i] = np.float64(weights[begin + i]) * degree / total
            if share[i] < 1.0:
                stack[small] = i
                small += 1
            else:
                large -= 1
                stack[large] = i
        while small > 0 and large < degree:
            small -= 1
            poor, rich = stack[small], stack[large]
            threshold[begin + poor] = np.uint32(share[poor] * 4294967296.0)
            alias[begin + poor] = values[begin + rich]
            share[rich] = (share[rich] + share[poor]) - 1.0
            if share[rich] < 1.0:  # it moves to the other end of the stack
                large += 1
                stack[small] = rich
                small += 1
        for at in range(small):
            _keep(begin + stack[at], values, threshold, alias)
        for at in range(large, degree):
            _keep(begin + stack[at], values, threshold, alias)


@njit(inline="always")
def _keep(slot: Any, values: Any, threshold: Any, alias: Any) -> None:
    """A slot that is all its own value's; a threshold of 2**32 does not fit, so the value is its own alias as well."""
    threshold[slot] = np.uint32(0xFFFFFFFF)
    alias[slot] = values[slot]
