"""The baselines bpr and vbpr: gradients against automatic differentiation, and shops where the answer is known."""

from concurrent.futures import CancelledError
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch

from vasg.config import Pairwise
from vasg.training import bpr

USERS, WARM, COLD = 60, 80, 20


def shop(seed: int = 0) -> tuple[Any, Any, Any]:
    """Pairs in four tastes, one held out a user, and features that show the taste of all products."""
    generator = np.random.default_rng(seed)
    taste, style = np.arange(USERS) % 4, np.arange(WARM + COLD) % 4
    pairs = [(u, p) for u in range(USERS) for p in generator.choice(np.flatnonzero(style[:WARM] == taste[u]), 9, False)]
    features = np.eye(4)[style] + 0.1 * generator.normal(size=(WARM + COLD, 4))
    held_out = np.arange(len(pairs)) % 9 == 0
    return np.array(pairs)[~held_out], np.array(pairs)[held_out], features.astype(np.float32)


def validation(pairs: Any, held_out: Any) -> bpr.Validation:
    known = np.zeros((USERS, WARM), bool)
    known[pairs[:, 0], pairs[:, 1]] = known[held_out[:, 0], held_out[:, 1]] = True
    return bpr.Validation(held_out, np.arange(WARM), known[held_out[:, 0]])


@pytest.mark.parametrize("visual", [False, True])
def test_finds_the_tastes(visual: bool) -> None:
    pairs, held_out, features = shop()
    looks = bpr.components(features, np.ones(len(features), bool), WARM, 0) if visual else features[:, :0]
    user, product, chosen = bpr.bpr(pairs, USERS, WARM, looks, validation(pairs, held_out), Pairwise(), seed=0)
    assert validation(pairs, held_out).auc(user, product) > 0.9
    scores = user @ product[WARM:].T
    same = (np.arange(USERS) % 4)[:, None] == (np.arange(WARM, WARM + COLD) % 4)[None, :]
    if visual:
        assert scores[same].mean() > scores[~same].mean() + 1  # cold products by their pictures
    else:
        assert np.ptp(scores, axis=1).max() < 1e-5  # nothing is known of them: all alike
    again = bpr.bpr(pairs, USERS, WARM, looks, validation(pairs, held_out), Pairwise(), seed=0, threads=3)
    assert np.array_equal(user, again[0])
    copied = bpr.bpr(pairs, USERS, WARM, looks, validation(pairs, held_out[:0]), chosen, seed=0)
    assert np.array_equal(user, copied[0])  # what was chosen, given where nothing can be chosen, is the same model
    assert copied[2] == chosen


def test_tastes_are_found_behind_popularity() -> None:
    """Popularity alone is learned first, and for a while it looks as if there were nothing else."""
    generator = np.random.default_rng(3)
    users, warm = 1000, 300
    taste, style, sells = np.arange(users) % 10, np.arange(warm) % 10, 1 / np.arange(1, warm + 1) ** 0.7
    chance = sells * np.where(taste[:, None] == style, 8, 1)
    bought = [generator.choice(warm, 12, False, p=row / row.sum()) for row in chance]
    pairs = np.array([(u, p) for u, row in enumerate(bought) for p in row])
    last = np.arange(len(pairs)) % 12 == 11
    known = np.zeros((users, warm), bool)
    known[pairs[:, 0], pairs[:, 1]] = True
    held_out = bpr.Validation(pairs[last], np.arange(warm), known[pairs[last, 0]])
    user, product, _ = bpr.bpr(pairs[~last], users, warm, np.zeros((warm, 0), np.float32), held_out, Pairwise(), seed=0)
    popularity = np.bincount(pairs[~last, 1], minlength=warm)[:, None].astype(np.float32)
    assert held_out.auc(user, product) > held_out.auc(np.ones((users, 1), np.float32), popularity) + 0.03


def test_a_step_is_gradient_descent_on_the_pairwise_loss() -> None:
    generator = np.random.default_rng(1)
    gu, gp, theta, seen = (generator.normal(size=s).astype(np.float32) for s in ((3, 2), (4, 2), (3, 5), (1, 6)))
    bias, rate, strength = generator.normal(size=4).astype(np.float32), 0.1, 0.01
    leaves = [torch.from_numpy(x.copy()).requires_grad_() for x in (gu, gp, bias, theta)]
    a, b, c, d = leaves
    x = c[1] - c[3] + float(seen[0, 5]) + a[2] @ (b[1] - b[3]) + d[2] @ torch.from_numpy(seen[0, :5])
    touched = a[2].square().sum() + b[[1, 3]].square().sum() + c[[1, 3]].square().sum() + d[2].square().sum()
    (-torch.nn.functional.logsigmoid(x) + strength / 2 * touched).backward()
    pull, taste = np.zeros((1, 6), np.float32), np.append(theta[2], 1)
    u, i, j = (np.array([n]) for n in (2, 1, 3))
    bpr._triples(u, i, j, seen, gu, gp, bias, theta, np.float32(rate), np.float32(strength), pull)
    np.testing.assert_allclose(pull[0], float(torch.sigmoid(-x.detach())) * taste, rtol=1e-5)
    for leaf, updated in zip(leaves, (gu, gp, bias, theta), strict=True):
        assert leaf.grad is not None
        np.testing.assert_allclose(updated, (leaf.detach() - rate * leaf.grad).numpy(), rtol=1e-4, atol=1e-6)


def test_negatives_are_products_the_user_did_not_buy() -> None:
    pairs, _, _ = shop()
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    negative = bpr._not_bought(pairs, WARM, 0, 0)
    assert negative.min() >= 0
    assert negative.max() < WARM
    bought = set(map(tuple, pairs.tolist()))
    assert np.mean([(u, n) in bought for (u, _), n in zip(pairs.tolist(), negative.tolist(), strict=True)]) < 0.02


@pytest.mark.fault
def test_whoever_is_told_to_stop_stops() -> None:
    pairs, held_out, looks = shop()
    stop = Event()
    stop.set()
    for judged in (held_out, held_out[:0]):
        with pytest.raises(CancelledError):
            bpr.bpr(pairs, USERS, WARM, looks, validation(pairs, judged), Pairwise(), seed=0, stop=stop)
