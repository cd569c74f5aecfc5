"""What purchases alone say, against a dense decomposition and on a shop of many small groups."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vasg.training.co_purchases import co_purchases

COLD = 3


def scores(pairs: np.ndarray, users: int, warm: int, dim: int) -> np.ndarray:
    found = co_purchases(pairs, users, warm, warm + COLD, dim, 0)
    assert (found.dtype, len(found)) == (np.float32, users + warm + COLD)
    if warm:
        cold = np.tile(found[users : users + warm].mean(0), (COLD, 1))
        np.testing.assert_allclose(found[users + warm :], cold, atol=1e-6)
    return found[:users] @ found[users : users + warm].T


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 9))
def test_all_directions_are_the_whole_matrix(seed: int, users: int, warm: int) -> None:
    bought = np.random.default_rng(seed).random((users, warm)) < 0.4
    normed = bought / np.sqrt(np.maximum(bought.sum(1, keepdims=True), 1) * np.maximum(bought.sum(0), 1))
    left, singular, right = np.linalg.svd(normed, full_matrices=False)
    np.testing.assert_allclose(scores(np.argwhere(bought), users, warm, 100), (left * singular**2) @ right, atol=1e-4)


def test_few_directions_find_the_group_of_each_user() -> None:
    users, groups, size = 400, 40, 5
    generator = np.random.default_rng(1)
    group = generator.permutation(np.arange(users) % groups)
    bought = np.zeros((users, groups * size), bool)
    for user in range(users):
        bought[user, group[user] * size + generator.permutation(size)[:3]] = True
    found = scores(np.argwhere(bought), users, groups * size, groups)
    of_group = np.arange(groups * size) // size == group[:, None]
    not_yet = of_group & ~bought
    assert found[not_yet].min() > found[~of_group].max()


def test_nothing_bought_and_nothing_wanted_are_zero() -> None:
    assert not scores(np.zeros((0, 2), np.int64), 4, 5, 8).any()
    assert co_purchases(np.array([[0, 0]]), 4, 5, 8, 0, 0).shape == (12, 1)
    assert not scores(np.zeros((0, 2), np.int64), 4, 0, 8).size
