"""Tastes by the mixed logit against the definition written out, a general optimiser, and a shop drawn from the model."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import logsumexp

from vasg.features.components import principal_components
from vasg.training.mixed_logit import Mixture, mixed_logit, mixture, newton

USERS, WARM, COLD, DIM_I = 5, 9, 3, 4


def rows_of(features: Any, has: Any, pairs: Any, users: int = USERS, warm: int = WARM) -> Any:
    return mixed_logit(principal_components(features, has, warm, 64, 0), has, pairs, users, warm, 0)


def drawn(generator: np.random.Generator, clusters: int, k: int) -> Mixture:
    root = generator.normal(size=(k, k)) * 0.5
    return Mixture(np.log(generator.dirichlet(np.ones(clusters))), generator.normal(size=(clusters, k)), root @ root.T)


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 4))
@example(37, 2, 2)  # whole steps go back and forth
@settings(max_examples=20, deadline=None)
def test_modes_are_those_that_a_general_optimiser_finds(seed: int, clusters: int, k: int) -> None:
    generator = np.random.default_rng(seed)
    found, count = drawn(generator, clusters, k), generator.integers(1, 40, 3).astype(float)
    bought = generator.dirichlet(np.ones(clusters), 3) @ found.centres + generator.normal(size=(3, k)) * 0.5
    total = bought * count[:, None]
    precision = generator.uniform(0.3, 3, k)
    axes = np.diag(precision**-0.5)  # in these units tastes are standard normal
    modes, _ = newton(found.along(axes), count, total @ axes, np.zeros((3, k)))
    curvature = count[:, None, None] * found.along(axes).log_sum(modes)[2] + np.eye(k)
    modes, curvature = modes @ axes, curvature * np.sqrt(np.outer(precision, precision))

    def loss(z: np.ndarray, user: int) -> float:  # written out, cluster by cluster
        log_sum = logsumexp(
            [s + z @ m + z @ found.within @ z / 2 for s, m in zip(found.log_share, found.centres, strict=True)]
        )
        return float(-z @ total[user] + count[user] * log_sum + precision @ z**2 / 2)

    for user in range(3):
        best = minimize(loss, np.zeros(k), (user,), tol=1e-10)
        np.testing.assert_allclose(modes[user], best.x, atol=2e-3)
        step = 1e-4 * np.eye(k)
        second = [[loss(modes[user] + a + b, user) - loss(modes[user] + a - b, user) - loss(modes[user] - a + b, user)
                   + loss(modes[user] - a - b, user) for b in step] for a in step]  # fmt: skip
        np.testing.assert_allclose(curvature[user], np.array(second) / 4e-8, rtol=1e-2, atol=0.05)


def test_the_mixture_stands_for_the_sum_over_all_products() -> None:
    generator = np.random.default_rng(1)
    looks = np.repeat(generator.normal(size=(40, 3)), 50, 0) + generator.normal(size=(2000, 3)) * 0.3
    weight, tastes = generator.uniform(1, 5, 2000), generator.normal(size=(20, 3))
    value, slope, _ = mixture(looks.astype(np.float32), weight, 0).log_sum(tastes)
    scores = looks @ tastes.T + np.log(weight / weight.sum())[:, None]
    np.testing.assert_allclose(value, logsumexp(scores, axis=0), atol=0.05)
    share = np.exp(scores - logsumexp(scores, axis=0))
    np.testing.assert_allclose(slope, share.T @ looks, atol=0.1)


def test_tastes_are_those_that_purchases_were_drawn_from() -> None:
    """Features of ten directions, of which two matter: tastes follow those two, and stay small in the others."""
    generator, users, products = np.random.default_rng(2), 400, 1500
    features = generator.normal(size=(products, 10))
    true = generator.normal(size=(users, 2)) * 1.5
    odds = np.exp(features[:, :2] @ true.T)
    pairs = np.array(
        [(u, p) for u in range(users) for p in generator.choice(products, 15, False, odds[:, u] / odds[:, u].sum())]
    )
    rows = rows_of(features, np.ones(products, bool), pairs, users, products)
    directions = features / np.linalg.norm(features, axis=1, keepdims=True)
    learned = np.linalg.lstsq(np.c_[directions, np.ones(products)], rows[users:] @ rows[:users].T, rcond=None)[0][:10].T
    for axis in range(2):
        assert np.corrcoef(learned[:, axis], true[:, axis])[0, 1] > 0.9
    assert learned[:, 2:].std() < learned[:, :2].std() / 4


@pytest.mark.parametrize("pictures", [0, 1])
def test_too_few_pictures_say_nothing(pictures: int) -> None:
    features, has = np.ones((WARM + COLD, DIM_I), np.float16), np.arange(WARM + COLD) < pictures
    assert not rows_of(features, has, np.array([[0, 0], [1, 0]])).any()


def test_pictures_all_alike_say_nothing() -> None:
    features, has = np.ones((WARM + COLD, DIM_I), np.float16), np.ones(WARM + COLD, bool)
    for features[WARM:] in (1.0, 5.0):  # nor where only cold products differ
        rows = rows_of(features, has, np.array([[0, 0], [1, 3]]))
        np.testing.assert_allclose(rows[:USERS] @ rows[USERS:].T, 0, atol=1e-6)


def test_without_a_picture_or_a_purchase_there_is_no_vector() -> None:
    features, has = np.random.default_rng(0).normal(size=(WARM + COLD, DIM_I)), np.arange(WARM + COLD) != 2
    rows = rows_of(features, has, np.array([[0, 0], [1, 3], [2, 2]]))
    assert rows.any(1).tolist() == [True, True, False, False, False, *has]


def test_cold_products_leave_no_trace_in_the_fit() -> None:
    features = np.random.default_rng(0).normal(size=(WARM + COLD, DIM_I))
    other = features.copy()
    other[WARM:] = 7 * features[WARM:][::-1]
    pairs, has = np.array([[0, 0], [1, 3]]), np.ones(WARM + COLD, bool)
    found, changed = (rows_of(f, has, pairs) for f in (features, other))
    np.testing.assert_array_equal(found[: USERS + WARM], changed[: USERS + WARM])
    assert np.abs(found[USERS + WARM :]).max() > 0
