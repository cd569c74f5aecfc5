"""How the published vectors combine what training learned: chosen on validation pairs, never on test pairs.

A product's looks are ``(1 - mapped) P_p + mapped M(f_p)``: what pictures say in closed form (``vasg.training.visual_prior``)
and what the mapping makes of them. A cold product's vector is its looks; a warm one's ``(1 - picture) X_p + picture looks``:
a product bought twice says little, its picture more. A bias counts ``popularity`` times: how much of the past popularity
lasts differs from shop to shop.
"""

from dataclasses import dataclass
from itertools import product as combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vasg.training import validation
from vasg.training.mapping import Mapping
from vasg.training.plan import Plan
from vasg.training.sharded import ShardedRows

_MAPPED = (0.0, 0.25, 0.5, 0.75, 1.0)
_PICTURE = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0)
_POPULARITY = (0.0, 0.15, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)


@dataclass(frozen=True)
class Blend:
    """The weights; the defaults are for runs without validation pairs, such as the nightly one."""

    mapped: float = 0.25
    picture: float = 0.6
    popularity: float = 1.0


@dataclass(frozen=True)
class _Parts:
    """Scores [n, m] of n validation pairs for m products by each part, and which products they are compared on."""

    trained: Tensor
    prior: Tensor
    mapped: Tensor
    bias: Tensor
    own: Tensor  # [n] column of the pair's product
    others: Tensor  # [c] columns of the candidates
    known: Tensor  # [n, c] bool: candidates the user has bought

    def auc(self, blend: Blend) -> float:
        """AUC of the pairs when the parts are blended so."""
        looks = (1 - blend.mapped) * self.prior + blend.mapped * self.mapped
        scores = (1 - blend.picture) * self.trained + blend.picture * looks + blend.popularity * self.bias
        own = scores.gather(1, self.own[:, None])[:, 0]
        return round(validation.auc(own.numpy(), scores[:, self.others].numpy(), self.known.numpy()), 6)


def choose(plan: Plan, rows: ShardedRows, mapping: Mapping | None) -> tuple[Blend, float]:
    """The blend with the best AUC on a sample of validation pairs, and that AUC (0 without validation pairs).

    The share of the mapping is the one that ranks best by looks alone, as for products that nobody bought. Without a
    ``mapping`` only the weight of popularity is chosen. All workers must call this together; each finds the same.
    """
    pairs = np.load(plan.validation)
    if plan.config.train.objective == "paper" or not len(pairs) or not plan.warm:
        return Blend(), 0.0
    parts = _parts(plan, rows, mapping, torch.from_numpy(pairs))
    if mapping is None:
        chosen = (Blend(0.0, 0.0, popularity) for popularity in _POPULARITY)
        return max(((blend, parts.auc(blend)) for blend in chosen), key=lambda found: found[1])
    by_looks = (Blend(mapped, 1.0, popularity) for mapped, popularity in combinations(_MAPPED, _POPULARITY))
    mapped = max((parts.auc(blend), -blend.mapped) for blend in by_looks)[1] * -1
    blends = [Blend(mapped, picture, popularity) for picture, popularity in combinations(_PICTURE, _POPULARITY)]
    return max(((blend, parts.auc(blend)) for blend in blends), key=lambda found: found[1])


def _parts(plan: Plan, rows: ShardedRows, mapping: Mapping | None, pairs: Tensor) -> _Parts:
    candidates = torch.from_numpy(np.load(plan.candidates))
    users = torch.unique(pairs[:, 0])
    asked, place = torch.unique(torch.cat([pairs[:, 1], candidates]), return_inverse=True)
    fetched = rows.fetch(torch.cat([users, asked]).to(rows.device)).rows.cpu()
    user, trained = fetched[: len(users), :-1], fetched[len(users) :]
    prior = mapped = trained[:, :-1].numpy()
    if mapping is not None:
        prior, mapped = looks(plan, mapping, asked.numpy() - plan.users, prior)
    taste = user[torch.searchsorted(users, pairs[:, 0].contiguous())]  # n x D
    return _Parts(
        taste @ trained[:, :-1].T, taste @ torch.from_numpy(prior).T, taste @ torch.from_numpy(mapped).T,
        trained[:, -1], place[: len(pairs)], place[len(pairs) :], torch.from_numpy(np.load(plan.known)),
    )  # fmt: skip


def looks(
    plan: Plan, mapping: Mapping, product: NDArray[Any], trained: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """[n, D] by the closed form and [n, D] by the mapping, of ``product`` [n]; ``trained`` [n, D] without a picture."""
    device = mapping.rows.device
    seen = mapping.features.has(torch.from_numpy(product).to(device)).cpu().numpy()
    prior = np.where(seen[:, None], np.load(plan.prior, mmap_mode="r")[plan.users + product], trained)
    mapped = trained.copy()
    mapped[seen] = mapping.map(torch.from_numpy(product[seen]).to(device)).cpu().numpy()
    return prior, mapped
