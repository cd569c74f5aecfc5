"""Thresholds, AUC, the trained distance and the whole comparison, against slow definitions and known answers."""

from dataclasses import replace

import numpy as np
import pytest
from analysis_shop import inputs_of, tastes
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import check_grad
from scoring_shop import shop
from sklearn.metrics import roc_auc_score

from vasg.analysis import ibr, relations
from vasg.analysis.inputs import taste_dimensions
from vasg.analysis.pairs import Pairs, pair_sets
from vasg.analysis.separation import auc, best_threshold, correct, placements
from vasg.rows import unit
from vasg.scoring import bootstrap
from vasg.scoring.bootstrap import mean_intervals

scores = arrays(np.float64, st.integers(1, 12), elements=st.integers(-4, 4).map(float))


@given(related=scores, unrelated=scores)
def test_no_threshold_is_better(related: np.ndarray, unrelated: np.ndarray) -> None:
    def right(threshold: float) -> int:
        return sum(s > threshold for s in related) + sum(s <= threshold for s in unrelated)

    everywhere = [-np.inf, *np.arange(-5, 5.1, 0.5)]
    chosen = best_threshold(related, unrelated)
    assert right(chosen) == max(map(right, everywhere))
    assert sum(c.sum() for c in correct(related, unrelated, chosen)) == right(chosen)


@pytest.mark.parametrize("scale", [1.0, 1e-300, 1e300])
def test_thresholds_between_scores_that_are_close_or_extreme(scale: float) -> None:
    low = np.array([1.0, np.nextafter(1.0, 2)]) * scale
    high = np.nextafter(low[-1:], np.inf)
    assert all(c.all() for c in correct(high, low, best_threshold(high, low)))


@given(related=scores, unrelated=scores)
def test_auc_is_scikit_learns_and_the_mean_of_either_placement(related: np.ndarray, unrelated: np.ndarray) -> None:
    is_related = np.arange(len(related) + len(unrelated)) < len(related)
    expected = roc_auc_score(is_related, np.concatenate([related, unrelated]))
    assert auc(related, unrelated) == pytest.approx(expected)
    for side in placements(related, unrelated):
        assert side.mean() == pytest.approx(expected)


def some_pairs(seed: int, products: int, n: int) -> Pairs:
    rng = np.random.default_rng(seed)
    return Pairs(rng.integers(0, products, (n, 2)), rng.integers(0, products, (n, 2)), np.zeros(n, np.int64))


@given(seed=st.integers(0, 1000), rank=st.integers(1, 4))
def test_ibr_loss_pair_by_pair(seed: int, rank: int) -> None:
    rng = np.random.default_rng(seed)
    looks, values = rng.normal(size=(9, 4)).astype(np.float32), rng.normal(size=4 * rank + 1)
    pairs, axes = some_pairs(seed, 9, 7), values[:-1].reshape(4, rank)
    expected = 0.0
    for chosen, sign in ((pairs.related, 1), (pairs.unrelated, -1)):
        for i, j in chosen:
            distance = np.sum(((looks[i] - looks[j]) @ axes) ** 2)
            expected += np.log1p(np.exp(-sign * (values[-1] - distance))) / 14
    assert ibr.loss(values, looks, pairs)[0] == pytest.approx(expected, rel=1e-4)


def test_ibr_gradient_and_the_loss_of_knowing_nothing() -> None:
    looks, pairs = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32), some_pairs(1, 30, 50)
    values = np.random.default_rng(2).normal(size=6 * 3 + 1) * 0.3
    away = check_grad(
        lambda v: ibr.loss(v, looks, pairs)[0], lambda v: ibr.loss(v, looks, pairs)[1], values, epsilon=1e-3
    )
    assert away < 0.02 * np.linalg.norm(ibr.loss(values, looks, pairs)[1])
    assert ibr.loss(np.zeros(19), looks, pairs)[0] == pytest.approx(np.log(2))


def looking_alike(seed: int = 0, products: int = 400, n: int = 3000) -> tuple[np.ndarray, dict[str, Pairs]]:
    """Related pairs agree in two weak dimensions of 30, unrelated ones do not."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(products, 30)) * np.r_[0.7, 0.7, np.ones(28)]
    apart = np.linalg.norm(features[:, None, :2] - features[None, :, :2], axis=2)
    near, far = np.argwhere(np.triu(apart < 0.2, 1)), np.argwhere(np.triu(apart > 0.6, 1))
    near, far = (rng.permutation(pairs)[: 2 * n] for pairs in (near, far))
    n = min(len(near), len(far)) // 2
    zero = np.zeros(n, np.int64)
    return features, {
        "train": Pairs(near[:n], far[:n], zero),
        "validation": Pairs(near[n : 2 * n], far[n : 2 * n], zero),
    }


def test_ibr_finds_what_plain_distance_does_not_see() -> None:
    features, sets = looking_alike()
    looks = ibr.looks(features, np.ones(400, bool), 400, seed=0)
    held_out = sets["validation"]

    def reached(places: np.ndarray) -> float:
        return auc(*(-ibr.squared_distance(places, pairs) for pairs in (held_out.related, held_out.unrelated)))

    assert reached(looks) < 0.65
    assert reached(ibr.positions(looks, sets["train"], held_out, rank=4)) > 0.95


@pytest.mark.parametrize("pictures", [np.ones(5), np.r_[1.0, np.zeros(4)]])
def test_pictures_all_alike_tell_no_pair(pictures: np.ndarray) -> None:
    inputs = tastes(groups=12)
    alike = replace(inputs, features=np.tile(pictures.astype(np.float32), (len(inputs.features), 1)))
    table = relations.relations(alike, seed=0, resamples=20).to_pylist()
    assert {row["method"]: row["auc"] for row in table if row["method"] in ("inn", "ibr")} == {"inn": 0.5, "ibr": 0.5}
    looks = ibr.looks(alike.features, alike.comparable, alike.purchases.warm, seed=0)
    pairs = pair_sets(alike.purchases, alike.comparable, "random", 0, relations.MOST_PAIRS)
    places = ibr.positions(looks, pairs["train"], pairs["validation"], rank=4)
    assert not ibr.squared_distance(places, pairs["test"].related).any()


def test_vectors_of_a_taste_each_tell_all_pairs_and_noise_tells_none() -> None:
    table = relations.relations(tastes(), seed=0, resamples=100).to_pylist()
    assert {(r["unrelated"], r["products"]) for r in table} == {
        (k, p) for k in ("random", "matched") for p in ("all", "warm")
    }
    for row in table:
        assert row["pairs"] > 1500
        if row["method"] == "vasg":
            assert row["accuracy"] > 0.97  # one unrelated pair in sixty is of one taste, too
            assert row["auc"] > 0.97
        elif row["method"] == "popularity" and row["unrelated"] == "random":
            assert row["auc"] > 0.6  # some products are bought more often by chance, and those are in R
        else:
            assert 0.43 < row["auc"] < 0.57, row
            assert row["lead_low"] > 0.3
        for quantity in ("accuracy", "auc", "lead"):
            assert row[f"{quantity}_low"] <= row[quantity] + 1e-9
            assert row[f"{quantity}_high"] >= row[quantity] - 1e-9


def test_every_row_is_the_accuracy_of_its_threshold() -> None:
    inputs = inputs_of(shop(5, users=60, warm=80, cold=20, most=12, low=-9, high=9))
    table = relations.relations(inputs, seed=0, resamples=20).to_pylist()
    assert {row["products"] for row in table} == {"all", "warm", "cold"}
    for row in (row for row in table if row["method"] == "vasg"):
        sets = pair_sets(inputs.purchases, inputs.comparable, row["unrelated"], 0, relations.MOST_PAIRS)
        chosen = {"all": (False, True), "warm": (False,), "cold": (True,)}[row["products"]]
        right = []
        for name in ("related", "unrelated"):
            for (a, b), (first, _) in zip(getattr(sets["test"], name), sets["test"].related, strict=True):
                if inputs.purchases.is_cold[first] in chosen:
                    similar = float(np.float32(unit(inputs.products[[a]])[0] @ unit(inputs.products[[b]])[0]))
                    right.append((similar > row["threshold"]) == (name == "related"))
        assert row["pairs"] == len(right) / 2
        assert row["accuracy"] == pytest.approx(np.mean(right))


def test_without_held_out_products_nothing_is_measured() -> None:
    inputs = tastes()
    inputs.purchases.split[:] = 0
    assert len(relations.relations(inputs, 0, 10)) == 0
    assert relations.section(inputs, 0, 10).text.startswith("Not measured")


def test_the_interval_of_the_auc_is_that_of_resampled_aucs() -> None:
    rng, n = np.random.default_rng(0), 400
    user = np.sort(rng.integers(0, 80, n))
    related, unrelated = rng.normal(0.7, 1, n) + rng.normal(size=80)[user] * 0.5, rng.normal(size=n)
    product = rng.integers(0, 50, n)
    influence = (sum(placements(related, unrelated)) - auc(related, unrelated))[:, None]
    mixed = rng.permutation(n)
    found = mean_intervals(influence[mixed], user[mixed], product[mixed], True, 1000, 3)[:, 0]
    weights = np.ones((1000, n))
    for group in (user, product + 80):
        names, row = np.unique(group, return_inverse=True)
        weights *= bootstrap._weights(3, np.arange(1000), names)[:, row]
    is_related = np.arange(2 * n) < n
    direct = [roc_auc_score(is_related, np.r_[related, unrelated], sample_weight=np.r_[w, w]) for w in weights]
    assert found == pytest.approx(np.quantile(direct, (0.025, 0.975)), abs=0.008)


def test_a_user_and_a_product_of_one_number_are_resampled_on_their_own() -> None:
    rng, n = np.random.default_rng(0), 200
    user, product, values = np.sort(rng.integers(0, 20, n)), rng.integers(0, 20, n), rng.normal(size=(n, 1))
    found, one_kind = (mean_intervals(values, user, product, True, 50, 0, one_kind=alike) for alike in (False, True))
    nothing = np.zeros((20, 0))
    assert np.array_equal(found, bootstrap.intervals(values, nothing, user, product + 20, True, 50, 0))
    assert np.array_equal(one_kind, bootstrap.intervals(values, nothing, user, product, True, 50, 0))
    assert not np.array_equal(found, one_kind)


def test_a_dimension_in_which_users_do_not_differ_is_a_bias() -> None:
    users = np.array([[1, 2, 1], [3, 2, 0], [1, 2, 0]], np.float32)
    assert taste_dimensions(users).tolist() == [True, False, True]
    assert taste_dimensions(users[:1]).all()
    assert taste_dimensions(users[:0]).all()
