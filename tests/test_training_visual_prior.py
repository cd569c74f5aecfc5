"""The closed form of what pictures say about taste, on shops where the answer is known."""

from typing import Any

import numpy as np
import pytest

from vasg.features.components import principal_components
from vasg.training.visual_prior import FINE, SMOOTH, Detail, _covariance, visual_prior

USERS, WARM, COLD, DIM = 400, 600, 100, 12


def shop(signal: float, seed: int = 0) -> tuple[Any, Any]:
    """Features [P, 20] and pairs [n, 2]: users buy products that look like their taste as far as ``signal`` goes."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(WARM + COLD, 20)) * np.linspace(2, 0.5, 20) + 1.0
    taste = generator.normal(size=(USERS, 3))
    liking = signal * taste @ (features[:WARM, :3] - 1).T + generator.gumbel(size=(USERS, WARM))
    bought = np.argsort(-liking, axis=1)[:, :8]
    return features.astype(np.float16), np.column_stack([np.repeat(np.arange(USERS), 8), bought.ravel()])


def prior(features: Any, pairs: Any, has: Any = None, dim: int = DIM, detail: Detail = FINE) -> Any:
    has = np.ones(len(features), bool) if has is None else has
    pictures = principal_components(features, has, WARM, FINE.components, seed=0)
    return visual_prior(pictures, has, pairs, USERS, WARM, dim, 0, detail)


def test_what_a_user_bought_outranks_the_rest_without_being_told() -> None:
    features, pairs = shop(1.0)
    held_out = np.arange(len(pairs)) % 8 == 0
    rows = prior(features, pairs[~held_out])
    scores = rows[:USERS] @ rows[USERS : USERS + WARM].T
    user, product = pairs[held_out].T
    assert (scores[user, product][:, None] > scores[user]).mean() > 0.75


def test_pictures_that_tell_nothing_say_nothing() -> None:
    informed, blank = (np.std(r[:USERS] @ r[USERS:].T) for r in (prior(*shop(1.0)), prior(*shop(0.0))))
    assert blank < 0.1 * informed


def test_cold_products_leave_no_trace_in_the_fit() -> None:
    features, pairs = shop(1.0)
    other = features.copy()
    other[WARM:] = 7 * features[WARM:][::-1]
    np.testing.assert_array_equal(prior(features, pairs)[: USERS + WARM], prior(other, pairs)[: USERS + WARM])
    assert np.abs(prior(features, pairs)[USERS + WARM :]).max() > 0


def test_without_a_picture_the_row_is_zero() -> None:
    features, pairs = shop(1.0)
    has = np.arange(WARM + COLD) % 5 != 0
    rows = prior(features, pairs, has)
    assert np.array_equal(np.abs(rows[USERS:]).max(1) > 0, has)
    only_unseen = np.array([[3, 0], [3, 5]])
    assert not prior(features, only_unseen, has).any()
    assert not prior(features, pairs, np.zeros(WARM + COLD, bool)).any()


@pytest.mark.parametrize("detail", [FINE, SMOOTH])
@pytest.mark.parametrize("alike", ["all", "warm", "bought", "zero", "one number"])
def test_pictures_all_alike_say_nothing(alike: str, detail: Detail) -> None:
    """A placeholder where a picture should be, or only one that was ever bought."""
    features, pairs = shop(1.0)
    if alike == "bought":
        features[pairs[:, 1]] = features[pairs[0, 1]]
    elif alike == "one number":
        features = np.ones((WARM + COLD, 1), np.float16)
    else:
        features[: WARM if alike == "warm" else None] = 0.0 if alike == "zero" else features[0]
    rows = prior(features, pairs, detail=detail)
    np.testing.assert_allclose(rows[:USERS] @ rows[USERS:].T, 0, atol=1e-6)
    assert np.isfinite(rows).all()


@pytest.mark.parametrize("dim", [2, 50])
def test_rows_have_the_asked_dimension(dim: int) -> None:
    rows = prior(*shop(1.0), dim=dim)
    assert rows.shape == (USERS + WARM + COLD, dim)
    assert np.isfinite(rows).all()


def test_covariance_is_that_of_pairs_of_purchases() -> None:
    from scipy.sparse import csr_array

    generator = np.random.default_rng(3)
    looks, bought = generator.normal(size=(6, 2)), (generator.random((4, 6)) < 0.6).astype(np.float32)
    chosen = np.array([True, False, True, True])
    total, weight = np.zeros((2, 2)), 0.0
    for row in bought[chosen]:
        products = np.flatnonzero(row)
        for p in products:
            for q in products[products != p]:
                total += np.outer(looks[p], looks[q]) / (len(products) - 1)
                weight += 1 / (len(products) - 1)
    np.testing.assert_allclose(_covariance(looks, csr_array(bought), chosen), total / weight, rtol=1e-5)
