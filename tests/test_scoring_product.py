"""The product behind all scores: against numpy, and the same number wherever a pair of vectors stands."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vasg.machine.registers import COLUMNS, ROWS
from vasg.scoring.product import packed, product, raise_to, singles

numbers = st.integers(0, 2**20)


def scores(users: np.ndarray, products: np.ndarray) -> np.ndarray:
    blocks = packed(products)
    out = np.full((len(users), len(blocks) * COLUMNS), np.nan, np.float32)
    product(users, blocks, out)
    assert not out[:, len(products) :].any()  # what is behind the last product
    return out[:, : len(products)]


@settings(max_examples=60, deadline=None)
@given(numbers, st.integers(1, 8), st.integers(1, 300), st.integers(1, 1100))
def test_it_is_the_matrix_product(seed: int, groups: int, dim: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    users, products = (rng.standard_normal((n, dim)).astype(np.float32) for n in (ROWS * groups, width))
    exact = users.astype(np.float64) @ products.T.astype(np.float64)
    np.testing.assert_allclose(scores(users, products), exact, atol=1e-5 * dim)


@settings(max_examples=30, deadline=None)
@given(numbers, st.sampled_from([1, 3, 37, 100, 130, 300]))
def test_a_score_is_the_same_number_wherever_it_stands(seed: int, dim: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = (rng.standard_normal((1, dim)).astype(np.float32) for _ in range(2))
    found = scores(np.repeat(one, 64, 0), np.repeat(other, 1088, 0))
    assert (found == found[0, 0]).all()
    mixed, place = rng.standard_normal((700, dim)).astype(np.float32), int(rng.integers(0, 700))
    mixed[place] = other
    assert (scores(np.repeat(one, 4, 0), mixed)[:, place] == found[0, 0]).all()


def test_shapes_that_do_not_fit_are_refused() -> None:
    blocks, users = packed(np.zeros((COLUMNS, 3), np.float32)), np.zeros((ROWS, 3), np.float32)
    out = np.zeros((ROWS, COLUMNS), np.float32)
    wrong = [(users[1:], blocks, out[1:]), (users[:, 1:].copy(), blocks, out), (users, blocks, out[:, 1:].copy())]
    for given_users, given_blocks, given_out in wrong:
        with pytest.raises(ValueError, match="shapes do not fit"):
            product(given_users, given_blocks, given_out)


def test_every_finite_number_of_half_precision_stays_what_it_is() -> None:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)].reshape(-1, 64)
    np.testing.assert_array_equal(singles(finite).view(np.uint32), finite.astype(np.float32).view(np.uint32))
    np.testing.assert_array_equal(singles(finite[:, ::3]), finite[:, ::3].astype(np.float32))


@settings(max_examples=30, deadline=None)
@given(numbers, st.integers(1, 40), st.integers(1, 9))
def test_rows_are_raised_to_the_highest_of_their_scores(seed: int, count: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    row, scores = rng.integers(0, rows, count), rng.standard_normal((count, 5)).astype(np.float32)
    found = rng.standard_normal((rows, 5)).astype(np.float32)
    expected = found.copy()
    np.maximum.at(expected, row, scores)
    raise_to(row, scores, found)
    np.testing.assert_array_equal(found, expected)
