"""How a ranking of validation pairs is judged, whatever is being chosen by it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vasg.sampled_auc import share_sums
from vasg.training.plan import Plan
from vasg.training.workers import Workers

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Scores:
    """Scores by one term: of n validation pairs [n], and of m candidates for their users [n, m]."""

    own: Floats
    others: Floats


class Sample:
    """Validation pairs and the candidates they are ranked against; false where there are none. Workers use it together."""

    def __init__(self, plan: Plan, workers: Workers) -> None:
        self._workers = workers
        self._pairs, self._known = np.load(plan.validation), np.load(plan.known)
        self._candidates = np.load(plan.candidates)
        self._count = len(self._pairs) if len(self._candidates) else 0

    def __len__(self) -> int:
        return self._count

    def scores(self, vectors: Callable[[NDArray[np.int64]], Floats]) -> Scores:
        """By the inner products of ``vectors``, which gives those of nodes [n]."""
        users, of_user = np.unique(self._pairs[:, 0], return_inverse=True)
        products, place = np.unique(np.concatenate([self._pairs[:, 1], self._candidates]), return_inverse=True)
        found = vectors(np.concatenate([users, products]))
        taste, product = found[: len(users)][of_user], found[len(users) :]
        own = np.einsum("nd,nd->n", taste, product[place[: self._count]])
        return Scores(own, taste @ product[place[self._count :]].T)

    def auc(self, scores: Scores) -> float:
        """AUC of the pairs, as worker 0 finds it: all take the same decisions, whatever processors they have."""
        return self.aucs(scores, scores, [0.0])[0]

    def aucs(self, rest: Scores, term: Scores, weights: Sequence[float]) -> list[float]:
        """The same by ``rest`` and ``term`` with each of some weights."""
        factors = np.array(weights, np.float32)
        shares, pairs = share_sums(rest.own, rest.others, term.own, term.others, self._known, factors)
        # AUCs that differ by less are equal
        return [round(one, 6) for one in self._workers.broadcast((shares / max(pairs, 1)).tolist(), "aucs")]


def summed(parts: Sequence[tuple[float, Scores]]) -> Scores:
    """The weighted sum of scores."""
    own = sum((weight * scores.own for weight, scores in parts), np.zeros_like(parts[0][1].own))
    others = sum((weight * scores.others for weight, scores in parts), np.zeros_like(parts[0][1].others))
    return Scores(own, others)
