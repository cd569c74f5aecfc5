"""The walk itself: from start nodes to rows of nodes, compiled, without a lock, many walks interleaved."""

from typing import Any

import numpy as np

from vasg.machine.compiled import njit
from vasg.machine.prefetch import prefetch
from vasg.randomness import GOLDEN, below, mix64

_INTERLEAVED = 64  # walks in flight: enough loads at once to hide memory latency, few enough to stay in the L1 cache


@njit(nogil=True, cache=True)
def walk(
    indptr: Any, indices: Any, threshold: Any, alias: Any, walk_ids: Any, walks_per_node: int, stream: Any, out: Any
) -> None:
    """Fill ``out`` [walks, walk_length] with the walks of ``walk_ids`` [walks] (start node x walks_per_node + repetition).

    Step t (from 0) of a walk takes the number ``at_step(sequence_key(seed, "walk_step", walk_id), t)``, where ``stream``
    is ``stream_key(seed, "walk_step")``: its high half chooses a neighbour. With alias tables (``threshold`` and
    ``alias`` are not None) its low half then chooses between that neighbour and its alias. Start nodes have neighbours.
    """
    count, walk_length = out.shape
    state = np.empty(_INTERLEAVED, np.uint64)  # at step t: key of the walk + (t + 1) x GOLDEN
    number = np.empty(_INTERLEAVED, np.uint64)
    current = np.empty(_INTERLEAVED, np.uint64)
    address = np.empty(_INTERLEAVED, np.uint64)
    for first in range(0, count, _INTERLEAVED):
        n = min(_INTERLEAVED, count - first)
        for k in range(n):
            state[k] = mix64(stream + np.uint64(walk_ids[first + k]) * GOLDEN)
            start = walk_ids[first + k] // walks_per_node
            current[k] = np.uint64(start)
            out[first + k, 0] = start
        for t in range(1, walk_length):
            for k in range(n):  # no memory in sight: vectorised
                state[k] += GOLDEN
                number[k] = mix64(state[k])
            for k in range(n):  # all degrees at once ...
                begin = np.uint64(indptr[current[k]])
                degree = np.uint64(indptr[current[k] + np.uint64(1)]) - begin
                address[k] = begin + below(number[k], degree)
                prefetch(indices, address[k])
                if threshold is not None:
                    prefetch(threshold, address[k])
            for k in range(n):  # ... and all neighbours, each asked for in the loop before
                if threshold is not None and np.uint32(number[k]) >= threshold[address[k]]:
                    node = alias[address[k]]
                else:
                    node = indices[address[k]]
                current[k] = np.uint64(node)
                prefetch(indptr, current[k])
                out[first + k, t] = node
