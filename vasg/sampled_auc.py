"""AUC on validation pairs against a sample of candidates, by which training and scoring make their choices."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vasg.machine.compiled import njit


def auc(own: NDArray[Any], rest: NDArray[Any], known: NDArray[np.bool_]) -> float:
    """Mean over the n pairs of the share of the candidates not known to the user that the pair's product outranks.

    ``own`` [n] scores of the pairs, ``rest`` [n, m] of the candidates for their users, ``known`` [n, m] candidates left
    out. Ties count one half; a pair whose user knows all candidates tells nothing.
    """
    shares, pairs = share_sums(own, rest, own, rest, known, np.zeros(1, np.float32))
    return float(shares[0] / max(pairs, 1))


@njit(nogil=True, cache=True)
def share_sums(own: Any, others: Any, own_term: Any, others_term: Any, known: Any, weights: Any) -> Any:
    """For each of k ``weights`` the sum over pairs of the share of unknown candidates outranked [k]; pairs that have such.

    The score of a pair's product is own [n] + weight x own_term [n], that of a candidate others [n, m] + weight x
    others_term [n, m], or [1, m] where the term is the same for all users.
    """
    found, pairs = np.zeros(weights.size), 0
    for i in range(own.size):
        unknown, every = 0, i if others_term.shape[0] > 1 else 0
        for j in range(known.shape[1]):
            unknown += not known[i, j]
        pairs += unknown > 0
        for k in range(weights.size):
            score = own[i] + weights[k] * own_term[i]
            won = np.int64(0)
            for j in range(known.shape[1]):
                other = others[i, j] + weights[k] * others_term[every, j]
                won += (not known[i, j]) * (np.int32(score > other) + np.int32(score >= other))
            found[k] += won / (2.0 * max(unknown, 1))
    return found, pairs
