"""How a ranking of validation pairs is judged, whatever is being chosen by it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vasg.training.plan import Plan

Floats = NDArray[np.float32]


def auc(own: NDArray[Any], rest: NDArray[Any], known: NDArray[np.bool_]) -> float:
    """Mean over n pairs of the share of the candidates not known to the user that the pair's product outranks.

    ``own`` [n] scores of the pairs, ``rest`` [n, m] of the candidates for their users, ``known`` [n, m] candidates left
    out. Ties count one half.
    """
    won = ((own[:, None] > rest) + 0.5 * (own[:, None] == rest)) * ~known
    return float((won.sum(1) / np.maximum((~known).sum(1), 1)).mean())


@dataclass(frozen=True)
class Scores:
    """Scores by one term: of n validation pairs [n], and of m candidates for their users [n, m]."""

    own: Floats
    others: Floats


class Sample:
    """Validation pairs and the candidates they are ranked against; false where there are none."""

    def __init__(self, plan: Plan) -> None:
        self._pairs, self._known = np.load(plan.validation), np.load(plan.known)
        self._candidates = np.load(plan.candidates)
        self._count = len(self._pairs) if len(self._candidates) else 0

    def __bool__(self) -> bool:
        return self._count > 0

    def scores(self, vectors: Callable[[NDArray[np.int64]], Floats]) -> Scores:
        """By the inner products of ``vectors``, which gives those of nodes [n]; all workers call this together."""
        users, of_user = np.unique(self._pairs[:, 0], return_inverse=True)
        products, place = np.unique(np.concatenate([self._pairs[:, 1], self._candidates]), return_inverse=True)
        found = vectors(np.concatenate([users, products]))
        taste, product = found[: len(users)][of_user], found[len(users) :]
        own = np.einsum("nd,nd->n", taste, product[place[: self._count]])
        return Scores(own, taste @ product[place[self._count :]].T)

    def summed(self, parts: list[tuple[float, Scores]]) -> Scores:
        """The weighted sum of scores."""
        own = sum((weight * scores.own for weight, scores in parts), np.zeros_like(parts[0][1].own))
        others = sum((weight * scores.others for weight, scores in parts), np.zeros_like(parts[0][1].others))
        return Scores(own, others)

    def auc(self, parts: list[tuple[float, Scores]]) -> float:
        """AUC of the pairs by a weighted sum, rounded so that every worker takes the same decisions."""
        scores = self.summed(parts)
        return round(auc(scores.own, scores.others, self._known), 6)
