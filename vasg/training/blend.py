"""How much each term of the score counts: chosen on validation pairs, never on test pairs."""

from dataclasses import asdict, dataclass, field

import numpy as np

from vasg import randomness
from vasg.training.mapping import Mapping
from vasg.training.plan import Plan
from vasg.training.sharded import ShardedRows
from vasg.training.terms import Vectors, all_terms
from vasg.training.validation import Sample, summed
from vasg.training.workers import Workers

_WEIGHTS = (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
_ROUNDS = 3
_NOTICEABLE = 1e-4  # a change of weights that gains less AUC is not worth leaving the defaults for
_ROUNDING = 1e-5  # of the largest score; what varies less, as popularity where all are bought alike, is not a term
_USERS = 500  # that the unit of each term is measured on
# their train purchases, at least: weights mean the same at night, when users with one purchase are there and nothing is held
# out, as in the evaluation that chose them (of five purchases, two are held out)
_KNOWN = 3


@dataclass(frozen=True)
class Blend:
    """The score is the sum over terms of weight / unit times the term; ``unit`` is the term's standard deviation.

    ``auc`` is that of the validation pairs, ``alone`` by each term alone; None and nothing without any.
    """

    weight: dict[str, float]
    unit: dict[str, float]
    auc: float | None
    alone: dict[str, float] = field(default_factory=dict)

    def figures(self) -> dict[str, float]:
        """What training_log holds of it beside the weights."""
        return {} if self.auc is None else {"validation_auc": self.auc}

    def factors(self) -> dict[str, float]:
        """What the scores of each term are multiplied by; terms that do not count are left out."""
        return {name: weight / self.unit[name] for name, weight in self.weight.items() if weight and self.unit[name]}


def blended_terms(
    plan: Plan, rows: ShardedRows, plain: ShardedRows | None, mapping: Mapping
) -> tuple[dict[str, Vectors], Blend]:
    """All terms and their blend. All workers must call this together; worker 0 decides."""
    terms = all_terms(plan, rows, plain, mapping)
    return terms, choose(plan, rows.workers, terms, asdict(plan.config.train.blend))


def choose(plan: Plan, workers: Workers, terms: dict[str, Vectors], defaults: dict[str, float]) -> Blend:
    """Weights of ``terms`` with the best AUC on a sample of the validation pairs, searched one after another.

    The search starts from ``defaults``; without validation pairs they are the answer. All workers call this together.
    """
    unit = dict(
        zip(terms, workers.broadcast([_unit(plan, vectors) for vectors in terms.values()], "units"), strict=True)
    )
    sample = Sample(plan, workers)
    if not sample:
        return Blend(defaults, unit, None)
    scores = {name: sample.scores(vectors) for name, vectors in terms.items()}
    weight = dict(defaults)
    best = sample.auc(summed([(weight[name] / (unit[name] or 1.0), scores[name]) for name in terms]))
    for _ in range(_ROUNDS):
        before = dict(weight)
        for name in terms:
            rest = [(weight[other] / (unit[other] or 1.0), scores[other]) for other in terms if other != name]
            factors = [value / (unit[name] or 1.0) for value in _WEIGHTS]
            for value, auc in zip(_WEIGHTS, sample.aucs(summed(rest), scores[name], factors), strict=True):
                if auc > best + _NOTICEABLE:
                    weight[name], best = value, auc
        if weight == before:
            break
    return Blend(weight, unit, best, {name: sample.auc(part) for name, part in scores.items()})


def _unit(plan: Plan, vectors: Vectors) -> float:
    """Standard deviation of a term's scores over a sample of users and warm products; 0 where only rounding varies."""
    users = np.flatnonzero(np.load(plan.degree)[: plan.users] >= _KNOWN)
    users = users if len(users) else np.arange(plan.users)
    drawn = randomness.integers(plan.config.seed, "sample", 4, np.arange(min(_USERS, len(users))), len(users))
    users = users[np.unique(drawn)]
    found = vectors(np.concatenate([users, np.load(plan.candidates)]))
    scores = found[: len(users)] @ found[len(users) :].T
    spread = float(scores.std())
    return spread if spread > _ROUNDING * float(np.abs(scores).max()) else 0.0
