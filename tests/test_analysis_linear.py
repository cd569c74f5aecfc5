"""X_p1 - X_u1 + X_u2 where it is exact by construction, and every count against loops over single products."""

import numpy as np
import pytest
from analysis_shop import inputs_of, purchases_of
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scoring_shop import shop

from vasg.analysis.inputs import Inputs
from vasg.analysis.linear_relation import ARITHMETIC, NEAREST, linear_relation, nearest, sample

USERS, KINDS = 20, 7


@given(seed=st.integers(0, 10_000), products=st.integers(1, 30), n=st.integers(0, 9))
def test_nearest_looks_at_every_candidate(seed: int, products: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, rows = rng.normal(size=(n, 3)), rng.normal(size=(products, 3))
    candidates, excluded = rng.random(products) < 0.8, rng.random((n, products)) < 0.3
    found = nearest(vectors, rows, candidates, csr_array(excluded))
    for i in range(n):
        allowed = [p for p in range(products) if candidates[p] and not excluded[i, p]]
        best = sorted(allowed, key=lambda p: -(vectors[i] @ rows[p]))[:NEAREST]
        assert found[i].tolist() == best + [-1] * (NEAREST - len(best))


def exact(apart: float) -> Inputs:
    """Every user owns one product of each kind, at X_user + X_kind; users are ``apart`` as far as kinds."""
    rng = np.random.default_rng(0)
    users = (apart * rng.normal(size=(USERS, 40))).astype(np.float32)
    kinds = rng.normal(size=(KINDS, 40)).astype(np.float32)
    products = (users[:, None] + kinds[None]).reshape(USERS * KINDS, 40)
    rows = [(u, u * KINDS + k, "train" if k < KINDS - 1 else "test_warm") for u in range(USERS) for k in range(KINDS)]
    every = np.ones(USERS * KINDS, np.bool_)
    purchases = purchases_of(rows, USERS, USERS * KINDS)
    return Inputs(purchases, users, products, np.ones(USERS, np.bool_), every, products, every)


def by_choice(inputs: Inputs, count: int = 300) -> tuple[object, dict[tuple[str, str], dict[str, float]]]:
    result = linear_relation(inputs, 0, 50, count)
    return result, {(row["chosen by"], row["hit"]): row for row in result.table.to_pylist()}


@pytest.mark.parametrize("apart", [0.3, 3.0])
def test_the_nearest_is_the_other_users_product_of_the_same_kind(apart: float) -> None:
    result, rows = by_choice(exact(apart))
    queries = result.queries
    assert np.array_equal(result.found[:, 0], queries.other * KINDS + queries.product % KINDS)
    assert np.array_equal(result.bought, result.found // KINDS == queries.other[:, None])
    if apart == 3.0:  # all five nearest are the other user's
        assert rows[ARITHMETIC, "bought"]["precision"] == 1
        assert rows["p1 alone", "bought"]["precision"] == 0
        assert rows["p1 alone", "related"]["precision"] == 1
        assert rows[ARITHMETIC, "unseen"]["precision"] == pytest.approx(1 / NEAREST)  # the only one not trained on
        assert rows["p1 alone", "bought"]["lead_low"] == 1
    assert rows["random", "bought"]["precision"] == pytest.approx(KINDS / (USERS * KINDS), abs=0.03)


@given(seed=st.integers(0, 10_000), warm=st.sampled_from([3, 25]))
def test_hits_one_product_at_a_time(seed: int, warm: int) -> None:
    """With three warm products there are fewer than five to choose from, and rarely no two users to ask: 0 of nothing."""
    inputs = inputs_of(shop(seed, users=9, warm=warm, cold=2, dim=4, most=9, low=-9, high=9))
    purchases = inputs.purchases
    result, rows = by_choice(inputs, count=20)
    baskets: list[dict[int, str]] = [{} for _ in range(purchases.users)]
    for user, product, train in zip(purchases.user, purchases.product, purchases.of("train"), strict=True):
        baskets[user][int(product)] = "train" if train else "held out"
    assert all(baskets[u].get(p) == "train" for u, p in zip(result.queries.user, result.queries.product, strict=True))
    assert not (result.queries.user == result.queries.other).any()
    related = 0
    for product, other, found, bought in zip(
        result.queries.product, result.queries.other, result.found, result.bought, strict=True
    ):
        assert product not in found
        assert [p in baskets[other] for p in found.tolist()] == bought.tolist()
        related += sum(any({int(product), p} <= set(basket) for basket in baskets) for p in found.tolist())
    assert rows[ARITHMETIC, "bought"]["precision"] == pytest.approx(result.bought.sum() / max(result.bought.size, 1))
    assert rows[ARITHMETIC, "related"]["precision"] == pytest.approx(related / max(result.found.size, 1))
    for row in rows.values():
        assert row["precision"] + row["lead"] == pytest.approx(rows[ARITHMETIC, row["hit"]]["precision"])


def test_users_and_their_products_are_drawn_evenly() -> None:
    queries = sample(exact(1.0), 3, 20_000)
    for drawn in (queries.user, queries.other):
        assert np.bincount(drawn, minlength=USERS) == pytest.approx(1000, abs=160)
    kinds = np.bincount(queries.product % KINDS, minlength=KINDS)
    assert kinds[:-1] == pytest.approx(20_000 / (KINDS - 1), abs=280)
    assert kinds[-1] == 0  # not in train


def test_one_user_has_no_other() -> None:
    inputs = inputs_of(shop(0, users=1))
    assert len(sample(inputs, 0, 10).user) == 0
