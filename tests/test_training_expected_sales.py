"""Popularity by pictures: found where they tell it, the mean where they do not."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_shop import COLD, USERS, WARM, config, plan

from vasg.training.expected_sales import expected_sales
from vasg.training.terms import popularity
from vasg.training.worker import _promised

P, FITTED = 3000, 2500


def pictures(seed: int, products: int = P) -> np.ndarray:
    """Components of less and less variance, as principal ones are."""
    spread = 1 / np.arange(1, 13)
    return (np.random.default_rng(seed).normal(size=(products, 12)) * spread).astype(np.float32)


@pytest.mark.parametrize("shape", ["a direction", "a place"])
def test_what_pictures_promise_is_found(shape: str) -> None:
    shown = pictures(1)
    truth = 0.8 * shown[:, 1] if shape == "a direction" else -0.5 * np.square(shown[:, :2]).sum(1)
    sold = np.random.default_rng(2).poisson(np.exp(1.5 + truth))[:FITTED]
    found = np.log(expected_sales(shown, np.ones(P, bool), sold, FITTED))
    assert np.corrcoef(found[FITTED:], truth[FITTED:])[0, 1] > 0.97
    assert np.exp(found[:FITTED]).mean() == pytest.approx(sold.mean(), rel=0.02)


def test_pictures_that_tell_nothing_promise_the_mean() -> None:
    sold = np.random.default_rng(3).geometric(0.1, FITTED)
    found = expected_sales(pictures(3), np.ones(P, bool), sold, FITTED)
    np.testing.assert_array_equal(found, np.float32(sold.mean()))


def test_best_sellers_are_not_foretold_by_chance() -> None:
    promised = 0
    for seed in range(20):
        generator = np.random.default_rng(seed)
        sold = generator.permutation((3000 / np.arange(1, FITTED + 1)).astype(int))  # Zipf's law
        promised += np.ptp(expected_sales(pictures(seed), np.ones(P, bool), sold, FITTED)) > 0
    assert promised <= 2


def test_without_a_picture_it_is_the_mean_and_nothing_of_others_changes_for_cold_ones() -> None:
    shown, has_feature = pictures(4), np.random.default_rng(4).random(P) < 0.9
    sold = np.random.default_rng(5).poisson(np.exp(1 + shown[:FITTED, 0]))
    found = expected_sales(shown, has_feature, sold, FITTED)
    np.testing.assert_array_equal(found[~has_feature], np.float32(sold.mean()))
    assert found[has_feature].std() > 0.1
    other = shown.copy()
    other[FITTED:] *= 30  # far from all that was seen
    far = expected_sales(other, has_feature, sold, FITTED)
    np.testing.assert_array_equal(far[:FITTED], found[:FITTED])
    assert far.max() <= found[:FITTED].max()
    assert far.min() >= found[:FITTED].min()


@given(
    st.integers(0, 10**6), st.integers(1, 150), st.integers(0, 5), st.integers(0, 12), st.floats(0, 1),
    st.sampled_from([0.001, 0.1, 1.0]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_any_shop_has_an_answer(
    seed: int, warm: int, cold: int, components: int, seen: float, popularity: float
) -> None:
    generator = np.random.default_rng(seed)
    shown = generator.normal(size=(warm + cold, components)).astype(np.float32)
    sold = generator.geometric(popularity, warm)  # all alike where it is 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = expected_sales(shown, generator.random(warm + cold) < seen, sold, warm)
    assert found.shape == (warm + cold,)
    assert np.isfinite(found).all()
    assert (found > 0).all()


def test_whether_pictures_promise_anything_is_said() -> None:
    assert _promised(np.full(3, 2.5, np.float32)).startswith("pictures do not foretell sales")
    assert "sell 1.5 to 30 times" in _promised(np.array([30, 1.5], np.float32))


def test_a_purchase_is_given_by_what_the_picture_promises(tmp_path: Path) -> None:
    this = plan(tmp_path, config())
    sold, promised = np.arange(1, WARM + 1), np.linspace(1, 30, WARM + COLD, dtype=np.float32)
    np.save(this.degree, np.concatenate([np.ones(USERS, int), sold]))
    np.save(this.expected_sales, promised)
    nodes = np.arange(USERS + WARM + COLD)
    found = popularity(this)(nodes)[:, 0]
    np.testing.assert_array_equal(found[:USERS], 1)
    np.testing.assert_allclose(np.exp(found[USERS:-COLD]), sold + promised[:WARM] / sold.mean(), rtol=1e-5)
    np.testing.assert_allclose(np.exp(found[-COLD:]), 1 + promised[WARM:], rtol=1e-5)
    # the baseline without pictures does not see what they promise
    counted = popularity(replace(this, expected_sales="none"), visual=False)(nodes)[:, 0]
    np.testing.assert_allclose(np.exp(counted[USERS:-COLD]), 1 + sold, rtol=1e-5)
    np.testing.assert_allclose(np.exp(counted[-COLD:]), 1 + sold.mean(), rtol=1e-5)
