"""How the published vectors combine what training learned: chosen on validation pairs, never on test pairs.

A warm product's vector is ``(1 - picture) X_p + picture M(f_p)``: a product bought twice says little, its picture more.
Its bias counts ``popularity`` times: how much of the past popularity lasts differs from shop to shop.
"""

from dataclasses import dataclass
from itertools import product as combinations

import numpy as np
import torch

from vasg.training.mapping import Mapping
from vasg.training.plan import Plan
from vasg.training.sharded import ShardedRows

_PICTURE, _POPULARITY = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9), (0.0, 0.15, 0.3, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Blend:
    """The two weights; the defaults are for runs without validation pairs, such as the nightly one."""

    picture: float = 0.6
    popularity: float = 0.5


def choose(plan: Plan, rows: ShardedRows, mapping: Mapping) -> tuple[Blend, float]:
    """The blend with the best AUC on a sample of validation pairs, and that AUC (0 without validation pairs).

    All workers must call this together; each finds the same.
    """
    pairs, candidates = np.load(plan.validation), np.load(plan.candidates)
    if plan.config.train.objective == "paper" or not len(pairs) or not len(candidates):
        return Blend(), 0.0
    users = torch.from_numpy(np.unique(pairs[:, 0]))
    asked, place = torch.unique(torch.from_numpy(np.concatenate([pairs[:, 1], candidates])), return_inverse=True)
    fetched = rows.fetch(torch.cat([users, asked]).to(rows.device)).rows.cpu()
    user, trained = fetched[: len(users), :-1], fetched[len(users) :]
    product = (asked - plan.users).to(rows.device)
    seen = mapping.features.has(product)
    mapped = trained[:, :-1].clone()  # without a picture there is nothing to blend in
    mapped[seen.cpu()] = mapping.map(product[seen]).cpu()
    taste = user[torch.searchsorted(users, torch.from_numpy(pairs[:, 0].copy()))]  # n x D
    own, others = place[: len(pairs)], place[len(pairs) :]
    known = torch.from_numpy(np.load(plan.known))
    parts = [taste @ trained[:, :-1].T, taste @ mapped.T, trained[:, -1].expand(len(pairs), -1)]  # n x asked, each
    best = max(
        (_auc(parts, Blend(*weights), own, others, known), weights) for weights in combinations(_PICTURE, _POPULARITY)
    )
    return Blend(*best[1]), best[0]


def _auc(
    parts: list[torch.Tensor], blend: Blend, own: torch.Tensor, others: torch.Tensor, known: torch.Tensor
) -> float:
    """Mean over pairs of the share of the candidates not known to the user that the pair's product outranks."""
    scores = (1 - blend.picture) * parts[0] + blend.picture * parts[1] + blend.popularity * parts[2]
    mine, rest = scores.gather(1, own[:, None]), scores[:, others]
    wins = ((mine > rest).double() + 0.5 * (mine == rest).double()) * ~known
    return round(float((wins.sum(1) / (~known).sum(1).clamp(min=1)).mean()), 6)
