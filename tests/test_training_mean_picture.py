"""The mean picture of a user's purchases, against the definition written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vasg.training.mean_picture import mean_picture

USERS, WARM, COLD, DIM_I = 5, 9, 3, 4


@given(st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_scores_are_inner_products_with_the_mean_of_what_was_bought(seed: int) -> None:
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(WARM + COLD, DIM_I)) + 1
    has = generator.random(WARM + COLD) < 0.8
    has[:2] = True
    pairs = np.argwhere(generator.random((USERS, WARM)) < 0.3)
    rows = mean_picture(features, has, pairs, USERS, WARM, seed)
    scores = rows[:USERS] @ rows[USERS:].T
    directions = features / np.linalg.norm(features, axis=1, keepdims=True)
    seen = directions - directions[:WARM][has[:WARM]].mean(0)
    left_out = np.linalg.svd(seen[:WARM][has[:WARM]])[2][min(DIM_I, has[:WARM].sum() - 1) :]
    seen = seen - seen @ left_out.T @ left_out
    for user in range(USERS):
        mine = [p for u, p in pairs if u == user and has[p]]
        taste = sum((seen[p] for p in mine), np.zeros(DIM_I)) / (len(mine) + 3)
        np.testing.assert_allclose(scores[user], np.where(has, seen @ taste, 0), atol=1e-5)


@pytest.mark.parametrize("pictures", [0, 1])
def test_too_few_pictures_say_nothing(pictures: int) -> None:
    features, has = np.ones((WARM + COLD, DIM_I), np.float16), np.arange(WARM + COLD) < pictures
    assert not mean_picture(features, has, np.array([[0, 0], [1, 0]]), USERS, WARM, 0).any()


def test_cold_products_leave_no_trace_in_the_fit() -> None:
    features = np.random.default_rng(0).normal(size=(WARM + COLD, DIM_I))
    other = features.copy()
    other[WARM:] = 7 * features[WARM:][::-1]
    pairs, has = np.array([[0, 0], [1, 3]]), np.ones(WARM + COLD, bool)
    found, changed = (mean_picture(f, has, pairs, USERS, WARM, 0) for f in (features, other))
    np.testing.assert_array_equal(found[: USERS + WARM], changed[: USERS + WARM])
    assert np.abs(found[USERS + WARM :]).max() > 0
