"""Pairs R and Q against sets of products, user by user: nothing leaks from one part into another."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoring_shop import shop

from vasg.analysis.pairs import PARTS, BoughtTogether, Pairs, _related, pair_sets
from vasg.scoring.inputs import SPLITS, Purchases

Pair = frozenset[int]
seeds = st.integers(0, 10_000)


def baskets(purchases: Purchases, *parts: str) -> list[list[int]]:
    """What each user bought in these parts."""
    part = [SPLITS[s].partition("_")[0] for s in purchases.split]
    of_user: list[list[int]] = [[] for _ in range(purchases.users)]
    for user, product, kind in zip(purchases.user.tolist(), purchases.product.tolist(), part, strict=True):
        if kind in parts:
            of_user[user].append(product)
    return of_user


def together(purchases: Purchases, *parts: str) -> set[Pair]:
    return {frozenset(pair) for basket in baskets(purchases, *parts) for pair in combinations(basket, 2)}


def related(purchases: Purchases, usable: np.ndarray, part: str) -> set[Pair]:
    """R by its definition."""
    train = together(purchases, "train")
    if part == "train":
        found = train
    else:
        halves = zip(baskets(purchases, part), baskets(purchases, "train"), strict=True)
        found = {frozenset((a, b)) for held_out, trained in halves for a in held_out for b in trained}
        found -= train if part == "validation" else together(purchases, "train", "validation")
    return {pair for pair in found if usable[list(pair)].all()}


def as_sets(pairs: np.ndarray) -> set[Pair]:
    found = {frozenset(pair) for pair in pairs.tolist()}
    assert len(found) == len(pairs)  # no pair twice, no mirror
    assert all(len(pair) == 2 for pair in found)
    return found


@pytest.mark.parametrize("kind", ["random", "matched"])
@given(seed=seeds, users=st.integers(2, 30), most=st.sampled_from([15, 10_000]))
def test_no_pair_leaks(kind: str, seed: int, users: int, most: int) -> None:
    some = shop(seed, users=users, warm=40, cold=8, most=10)
    sets = pair_sets(some.purchases, some.has_feature, kind, seed, most)
    assert tuple(sets) == PARTS
    anyone = together(some.purchases, "train", "validation", "test")
    seen: set[Pair] = set()
    for part, pairs in sets.items():
        positive, negative = as_sets(pairs.related), as_sets(pairs.unrelated)
        assert len(positive) == len(negative) == len(pairs.user) <= most
        assert positive <= related(some.purchases, some.has_feature, part)
        assert not negative & anyone
        assert all(some.has_feature[list(pair)].all() for pair in negative)
        assert not (positive | negative) & seen
        seen |= positive | negative
        basket = baskets(some.purchases, "train", "validation", "test")
        assert all(set(row) <= set(basket[u]) for row, u in zip(pairs.related.tolist(), pairs.user, strict=True))
        cold = some.purchases.is_cold
        assert np.array_equal(cold[pairs.related], cold[pairs.unrelated])


@given(seed=seeds, users=st.integers(1, 30))
def test_all_related_pairs_are_found(seed: int, users: int) -> None:
    some = shop(seed, users=users, warm=40, cold=8, most=10)
    for part in PARTS:
        pairs, _ = _related(some.purchases, some.has_feature, part, seed, 10_000)
        assert as_sets(pairs) == related(some.purchases, some.has_feature, part)


def test_of_many_pairs_each_is_drawn_about_as_often() -> None:
    some = shop(3, users=40, warm=60, cold=8, most=30)
    every = np.ones(68, np.bool_)
    count: dict[Pair, int] = {}
    for seed in range(300):
        for pair in as_sets(_related(some.purchases, every, "validation", seed, 100)[0]):
            count[pair] = count.get(pair, 0) + 1
    possible = related(some.purchases, every, "validation")
    assert len(possible) > 200
    assert len(count) == len(possible)
    assert max(count.values()) < 6 * np.mean(list(count.values()))  # several users may have made a pair


def products_in(pairs: Pairs) -> tuple[list[int], list[int]]:
    return sorted(pairs.related.ravel().tolist()), sorted(pairs.unrelated.ravel().tolist())


def test_matched_pairs_hold_every_product_as_often() -> None:
    some = shop(1, users=60, warm=300, cold=30, most=12)
    every = np.ones(330, np.bool_)
    matched, random = (pair_sets(some.purchases, every, kind, 0, 10_000) for kind in ("matched", "random"))
    for part in PARTS:
        of_related, of_unrelated = products_in(matched[part])
        assert of_related == of_unrelated
        assert len(matched[part].related) == len(related(some.purchases, every, part))  # none had to be left out
        of_related, of_unrelated = products_in(random[part])
        assert of_related != of_unrelated


def test_where_everybody_bought_everything_there_are_no_pairs() -> None:
    some = shop(0, users=8, warm=5, cold=0, most=5)
    every = np.ones(5, np.bool_)
    bought = BoughtTogether(some.purchases, np.ones(len(some.purchases.user), np.bool_))
    left = [pair for pair in combinations(range(5), 2) if not bought(np.array([pair]))[0]]
    for kind in ("random", "matched"):
        assert sum(len(p.unrelated) for p in pair_sets(some.purchases, every, kind, 0, 100).values()) <= len(left)


@given(seed=seeds)
def test_bought_together(seed: int) -> None:
    some = shop(seed, users=9, warm=12, cold=3, most=9)
    pairs = np.array([(a, b) for a in range(15) for b in range(15)])
    found = BoughtTogether(some.purchases, some.purchases.of("train"))(pairs)
    expected = together(some.purchases, "train")
    sold = {p for basket in baskets(some.purchases, "train") for p in basket}
    assert [bool(f) for f in found] == [
        a in sold if a == b else frozenset((a, b)) in expected for a, b in pairs.tolist()
    ]
