"""Metrics against sums over every possible order of the tied, and what the bootstrap promises."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vasg import schemas
from vasg.scoring.bootstrap import intervals
from vasg.scoring.metrics import auc, hit_rate, metrics, ndcg, recall


@given(st.integers(0, 12), st.integers(0, 8), st.integers(0, 5), st.integers(1, 10))
def test_ties_are_a_random_order(above: int, tied: int, below: int, k: int) -> None:
    a, t, n = (np.array([x]) for x in (above, tied, above + tied + below))
    ranks = range(above + 1, above + tied + 2)  # as likely as each other
    assert recall(a, t, k)[0] == pytest.approx(np.mean([r <= k for r in ranks]))
    assert ndcg(a, t, k)[0] == pytest.approx(np.mean([(r <= k) / np.log2(1 + r) for r in ranks]))
    if n[0]:
        half, strict = auc(a, t, n)
        assert half[0] == pytest.approx(np.mean([(n[0] - (r - 1)) / n[0] for r in ranks]))
        assert strict[0] == pytest.approx(below / n[0])


def test_hit_rate_is_that_of_independent_pairs() -> None:
    user, hit = np.array([4, 4, 4, 9]), np.array([0.5, 0.2, 0.0, 0.3])
    outcomes = itertools.product([0, 1], repeat=3)
    any_hit = sum(
        np.prod([h if o else 1 - h for o, h in zip(out, hit[:3], strict=True)]) for out in outcomes if any(out)
    )
    assert hit_rate(user, hit) == pytest.approx([any_hit, 0.3])


def rank_table(rows: list[tuple[object, ...]]) -> pa.Table:
    schema = schemas.TABLES["pair_ranks"].arrow()
    return pa.table([pa.array(c, t) for c, t in zip(zip(*rows, strict=True), schema.types, strict=True)], schema=schema)


def test_metrics_by_hand() -> None:
    rows = [
        ("vasg", "warm", "all", 0, 5, 0, 0, 10),
        ("vasg", "warm", "all", 0, 6, 4, 1, 10),
        ("vasg", "warm", "all", 1, 6, 9, 0, 10),
        ("vasg", "warm", "all", 2, 6, 0, 0, 0),  # no candidates: in no mean
        ("random", "warm", "all", 1, 6, 10, 0, 10),
        ("random", "warm", "all", 0, 6, 0, 10, 10),
        ("random", "warm", "all", 0, 5, 5, 0, 10),
        ("random", "warm", "all", 2, 6, 0, 0, 0),
    ]
    table = metrics(rank_table(rows), {}, (5,), 50, 1, "r")
    schemas.check("metrics", table.schema)
    found = {(row["model"], row["metric"]): row for row in table.to_pylist()}
    expected = {
        ("vasg", "auc"): (1 + 0.55 + 0.1) / 3,
        ("random", "auc_lead"): (1 + 0.55 + 0.1) / 3 - (0.5 + 0.5 + 0.0) / 3,
        ("vasg", "auc_strict"): (1 + 0.5 + 0.1) / 3,
        ("vasg", "recall@5"): (1 + 0.5 + 0) / 3,
        ("vasg", "ndcg@5"): (1 + 0.5 / np.log2(6) + 0) / 3,
        ("vasg", "hit_rate@5"): (1 + 0) / 2,
        ("random", "auc"): (0.5 + 0.5 + 0) / 3,
        ("random", "hit_rate@5"): (5 / 11) / 2,
    }
    for key, value in expected.items():
        assert found[key]["value"] == pytest.approx(value), key
        assert found[key]["ci_low"] <= value <= found[key]["ci_high"]
    assert {row["n"] for row in found.values()} == {3}
    assert len(found) == 11


def test_a_kind_is_the_mean_over_its_own_pairs() -> None:
    rows = [
        ("vasg", setting, "setting", user, product, above, 0, 10)
        for setting, user, product, above in [
            ("warm", 0, 5, 1),
            ("warm", 1, 6, 9),
            ("cold", 0, 8, 2),
            ("cold", 1, 9, 7),
        ]
    ]
    kinds = {"warm_few_shot": np.array([6, 7]), "cold_held_out": np.array([8]), "cold_natural": np.array([], np.int64)}
    table = metrics(rank_table(rows), kinds, (5,), 50, 1, "r").to_pylist()
    found = {row["setting"]: (row["value"], row["n"]) for row in table if row["metric"] == "auc"}
    expected = {"warm": (0.5, 2), "cold": (0.55, 2), "warm_few_shot": (0.1, 1), "cold_held_out": (0.8, 1)}
    assert found == {setting: pytest.approx(value) for setting, value in expected.items()}


def test_no_test_pairs_give_an_empty_table() -> None:
    table = metrics(schemas.TABLES["pair_ranks"].arrow().empty_table(), {}, (5,), 50, 1, "r")
    schemas.check("metrics", table.schema)
    assert len(table) == 0


def simulate(rng: np.random.Generator, users: int, products: int, spread: float) -> tuple[np.ndarray, ...]:
    """Two pairs a user, with an effect of the user and of the product; the true mean is 0."""
    user, product = np.repeat(np.arange(users), 2), rng.integers(0, products, 2 * users)
    values = rng.standard_normal(users)[user] + spread * rng.standard_normal(products)[product]
    return user, product, values


@pytest.mark.parametrize(("two_way", "spread", "low", "high"), [(False, 0.0, 0.88, 0.985), (True, 1.0, 0.86, 1.0)])
def test_intervals_cover_the_truth(two_way: bool, spread: float, low: float, high: float) -> None:
    rng, covered, trials = np.random.default_rng(0), 0, 200
    for trial in range(trials):
        user, product, values = simulate(rng, 60, 25, spread)
        bounds = intervals(values[:, None], values[::2, None], user, product + 1000, two_way, 150, trial)
        covered += int(bounds[0, 0] <= 0 <= bounds[1, 0])
    assert low <= covered / trials <= high


def test_users_alone_would_miss_what_products_share() -> None:
    user, product, values = simulate(np.random.default_rng(1), 400, 8, 2.0)
    one, two = (
        np.diff(intervals(values[:, None], values[::2, None], user, product + 1000, way, 200, 0)[:, 0])[0]
        for way in (False, True)
    )
    assert two > 2 * one


def test_the_bootstrap_is_deterministic_and_paired_between_models() -> None:
    user, product, values = simulate(np.random.default_rng(1), 50, 20, 1.0)
    both = intervals(np.stack([values, values], axis=1), values[::2, None], user, product, True, 100, 7)
    assert np.array_equal(both[:, 0], both[:, 1])
    again = intervals(np.stack([values, values], axis=1), values[::2, None], user, product, True, 100, 7)
    assert np.array_equal(both, again)
    assert not np.array_equal(
        both, intervals(np.stack([values, values], axis=1), values[::2, None], user, product, True, 100, 8)
    )


def test_one_pair_has_an_interval_without_width() -> None:
    one = np.array([3])
    bounds = intervals(np.array([[0.25]]), np.array([[0.5]]), one, one + 5, True, 100, 0)
    assert bounds.tolist() == [[0.25, 0.5], [0.25, 0.5]]
