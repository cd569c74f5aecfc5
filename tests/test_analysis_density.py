"""Kurtosis against scipy, its influence against its definition, and cosines whose density is known."""

import numpy as np
import pytest
from analysis_shop import inputs_of
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scoring_shop import Shop, shop

from vasg.analysis.cosine_density import densities, kurtosis, section


@given(seed=st.integers(0, 10_000), n=st.integers(4, 50))
def test_kurtosis_is_fishers(seed: int, n: int) -> None:
    values = np.random.default_rng(seed).normal(size=n) ** 3
    found, influence = kurtosis(values)
    assert found == pytest.approx(stats.kurtosis(values))
    assert influence.mean() == pytest.approx(0, abs=1e-6 * np.abs(influence).max())


@pytest.mark.parametrize(("name", "expected"), [("uniform", -1.2), ("norm", 0.0), ("logistic", 1.2), ("arcsine", -1.5)])
def test_kurtosis_of_known_distributions(name: str, expected: float) -> None:
    quantiles = getattr(stats, name).ppf((np.arange(200_000) + 0.5) / 200_000)
    assert kurtosis(quantiles)[0] == pytest.approx(expected, abs=0.01)


def test_influence_is_what_a_little_more_of_a_value_changes() -> None:
    values, more = np.random.default_rng(1).gamma(2, size=30), 1e-6

    def weighted(weights: np.ndarray) -> float:
        weights = weights / weights.sum()
        centred = values - weights @ values
        return float(weights @ centred**4 / (weights @ centred**2) ** 2)

    influence = kurtosis(values)[1]
    for i in range(30):
        weights = np.full(30, 1 / 30) * (1 - more)
        weights[i] += more
        assert (weighted(weights) - weighted(np.full(30, 1 / 30))) / more == pytest.approx(
            influence[i], rel=1e-3, abs=1e-3
        )


def directions(dim: int, products: int = 1500) -> Shop:
    """Products with vectors and features in random directions."""
    some, rng = shop(0, users=5, warm=products, cold=10), np.random.default_rng(dim)
    some.vectors = rng.normal(size=(5 + products + 10, dim)).astype(np.float32)
    some.has_vector[:] = some.has_feature[:] = True
    some.features = np.abs(rng.normal(size=(products + 10, 3))).astype(np.float16)
    return some


@pytest.mark.parametrize("dim", [2, 3, 10, 60])
def test_random_directions_have_the_cosines_of_the_sphere(dim: int) -> None:
    found = densities(inputs_of(directions(dim)), seed=4, resamples=200, count=30_000)
    row, features = found.table.to_pylist()
    assert row["deviation"] == pytest.approx(dim**-0.5, rel=0.05)
    assert row["kurtosis_low"] - 0.05 < -6 / (dim + 2) < row["kurtosis_high"] + 0.05  # of the cosine of two of them
    assert features["mean"] > 0.5  # positive features look alike


def test_pairs_are_of_two_products_that_have_both() -> None:
    some = directions(4, products=30)
    some.vectors[5:] = np.eye(4, dtype=np.float32)[0]
    some.vectors[5 + 7], some.features[9] = 0, 0
    some.has_vector[5 + 7] = some.has_feature[9] = False
    found = densities(inputs_of(some), 0, 10, count=2000)
    assert (found.cosines["vectors"] == 1).all()
    assert (found.cosines["image features"] > 0).all()
    assert (found.cosines["image features"] < 0.99999).any()


def test_one_product_has_no_pairs() -> None:
    some = directions(4, products=30)
    some.has_vector[6:] = False
    assert section(inputs_of(some), 0, 10).text.startswith("Not measured")
