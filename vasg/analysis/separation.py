"""How well a score tells related pairs from unrelated ones. In all functions the scores of both are [n] and [m]."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vasg.rows import unit

_CHUNK = 4096  # pairs at a time

Scores = NDArray[np.floating[Any]]
Shares = NDArray[np.float64]


def cosine(rows: NDArray[Any], pairs: NDArray[np.int64]) -> NDArray[np.float32]:
    """[n] cosine of the two rows of each pair [n, 2]; 0 where one is all zeros."""
    found = np.empty(len(pairs), np.float32)
    for begin in range(0, len(pairs), _CHUNK):
        first, second = (unit(rows[column]) for column in pairs[begin : begin + _CHUNK].T)
        found[begin : begin + _CHUNK] = np.einsum("nd,nd->n", first, second)
    return found


def best_threshold(related: Scores, unrelated: Scores) -> float:
    """The t for which most pairs are right when those with a score > t are called related.

    Half-way between two neighbouring scores, or infinite where calling all pairs the same is best; the lowest such t.
    """
    scores = np.concatenate([related, unrelated]).astype(np.float64)
    order = np.argsort(scores, kind="stable")
    scores = np.concatenate([[-np.inf], scores[order], [np.inf]])
    # What is gained when t moves above a pair. No t lies between equal scores, and none is chosen: of those the related
    # pairs come first, so that the sum is lower there than before or after them.
    step = np.where(order < len(related), -1, 1)
    at = int(np.concatenate([[0], np.cumsum(step)]).argmax())
    low, high = scores[at], scores[at + 1]
    between = float((low + high) / 2)
    return between if low < between < high or not np.isfinite(between) else float(low)


def correct(related: Scores, unrelated: Scores, threshold: float) -> tuple[Shares, Shares]:
    """1 for each pair that the threshold puts on the right side, 0 for the others; the mean over all is the accuracy."""
    return (related > threshold).astype(np.float64), (unrelated <= threshold).astype(np.float64)


def placements(related: Scores, unrelated: Scores) -> tuple[Shares, Shares]:
    """For each related pair the share of unrelated ones below it, for each unrelated one the share of related ones above.

    Equal scores count one half. The mean of either is the AUC (DeLong et al., Biometrics 1988).
    """
    return _share_below(related, unrelated), 1 - _share_below(unrelated, related)


def auc(related: Scores, unrelated: Scores) -> float:
    """Share of (related, unrelated) in which the related pair has the higher score, ties one half; NaN without any."""
    return float(placements(related, unrelated)[0].mean()) if len(related) and len(unrelated) else float("nan")


def _share_below(scores: Scores, others: Scores) -> Shares:
    others = np.sort(others)
    twice = np.searchsorted(others, scores, "left") + np.searchsorted(others, scores, "right")
    return np.asarray(twice / (2 * max(1, len(others))), np.float64)
