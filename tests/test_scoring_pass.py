"""The pass over users x products, against a full score matrix, one candidate after the other."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from scoring_shop import Shop, counts, rows, shop
from sklearn.metrics import roc_auc_score

from vasg.machine import bits
from vasg.randomness import hash64
from vasg.scoring import kernel, models, tasks
from vasg.scoring.blocks import Arrays, Best, Ranks, Settings, score_block
from vasg.scoring.metrics import auc
from vasg.scoring.recommendations import cold_places, merge
from vasg.spark.replicated import replicate


def run(shop: Shop, tile: int = 64, tile_rows: int = 4, block: int = 5, best: tuple[int, int] = (0, 0), seed: int = 3):
    """Every block of the pass, in this process: the ranks, and the merged parts of the lists."""
    bought, size = shop.purchases, shop.purchases.users
    columns = models.catalogue(lambda p: shop.vectors[size:][p], shop.has_vector[size:], bought.warm, seed, tile)
    shared = {k: v for k, v in tasks.purchase_arrays(bought).items() if "ids" not in k}
    arrays = Arrays(
        user=np.arange(size), user_vectors=shop.vectors[:size],
        vectors=columns.vectors, product=columns.product, column=columns.column,
        row_starts=np.zeros(0, np.int64), **shared,
    )  # fmt: skip
    how = Settings(bought.warm, columns.warm_tiles, best, tile=tile, rows=tile_rows)
    return [score_block(arrays, how, begin, min(size, begin + block)) for begin in range(0, size, block)]


def score_matrix(shop: Shop) -> np.ndarray:
    """All scores [U, P], NaN for products without a vector."""
    users, products = np.split(shop.vectors.astype(np.float64), [shop.purchases.users])
    return np.where(shop.has_vector[shop.purchases.users :], users @ products.T, np.nan)


def pairs(ranks: Ranks) -> dict[tuple[int, int], tuple[list[int], ...]]:
    return {
        (int(u), int(p)): tuple(a[i].tolist() for a in (ranks.above, ranks.tied, ranks.candidates))
        for i, (u, p) in enumerate(zip(ranks.user, ranks.product, strict=True))
    }


def all_pairs(blocks: list[tuple[Ranks, Best]]) -> dict[tuple[int, int], tuple[list[int], ...]]:
    return {key: value for ranks, _ in blocks for key, value in pairs(ranks).items()}


def lists(blocks: list[tuple[Ranks, Best]], top_k: int, seed: int = 3) -> list[list[tuple[float, int]]]:
    result = []
    for _, best in blocks:
        scores, products, length = merge(best, top_k, seed)
        result += [
            list(zip(s[:n].tolist(), p[:n].tolist(), strict=True))
            for s, p, n in zip(scores, products, length, strict=True)
        ]
    return result


def expected_list(shop: Shop, user: int, top_k: int, cold: int, seed: int = 3) -> list[tuple[float, int]]:
    """Oracle: all candidates in order, cold ones beyond their places skipped."""
    scores, known = score_matrix(shop)[user], set(shop.purchases.product[shop.purchases.user == user].tolist())
    ranked = sorted(
        (p for p in range(shop.purchases.products) if p not in known and not np.isnan(scores[p])),
        key=lambda p: (-scores[p], int(hash64(seed, "ties", 0, p))),
    )
    taken: list[tuple[float, int]] = []
    for p in ranked:
        if shop.purchases.is_cold[p]:
            if cold == 0:
                continue
            cold -= 1
        taken.append((float(scores[p]), p))
    return taken[:top_k]


shops = st.builds(
    shop, seed=st.integers(0, 2**20), users=st.integers(1, 13), warm=st.integers(1, 200), cold=st.integers(0, 150),
    dim=st.integers(1, 3), most=st.integers(0, 60), high=st.integers(-2, 2),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(shops, st.sampled_from([64, 128]), st.sampled_from([4, 8, 16]), st.sampled_from([1, 4, 100]))
def test_counts_are_those_of_the_full_matrix(shop: Shop, tile: int, tile_rows: int, block: int) -> None:
    found = all_pairs(run(shop, tile, tile_rows, block))
    bought, scores = shop.purchases, score_matrix(shop)
    chosen = bought.of("test_warm", "test_cold")
    assert set(found) == set(zip(bought.user[chosen].tolist(), bought.product[chosen].tolist(), strict=True))
    for (user, product), values in found.items():
        own = int(bought.is_cold[product])
        assert tuple(map(sum, values)) == counts(shop, scores, user, product, setting_only=False)
        assert tuple(v[own] for v in values) == counts(shop, scores, user, product, setting_only=True)


@settings(max_examples=60, deadline=None)
@given(
    shops,
    st.integers(1, 12),
    st.sampled_from([0.0, 0.01, 0.5, 1.0]),
    st.sampled_from([64, 128]),
    st.sampled_from([1, 4, 100]),
)
def test_lists_are_those_of_the_full_matrix(shop: Shop, top_k: int, share: float, tile: int, block: int) -> None:
    cold = cold_places(top_k, share)
    found = lists(run(shop, tile, 4, block, best=(top_k, cold)), top_k)
    assert found == [expected_list(shop, user, top_k, cold) for user in range(shop.purchases.users)]


def test_lists_stay_exact_when_the_buffers_overflow() -> None:
    many = shop(1, users=3, warm=3000, cold=900, dim=1, most=50, low=-40, high=40)
    for k in (1, 7):
        found = lists(run(many, 1024, 4, 5, best=(k, k)), k)
        assert found == [expected_list(many, user, k, k) for user in range(3)]


def test_auc_is_scikit_learns() -> None:
    some = shop(5, users=20, warm=40, cold=10, dim=3)
    bought, scores = some.purchases, np.nan_to_num(score_matrix(some), nan=-1e30)
    found = all_pairs(run(some))
    assert len(found) > 20
    for (user, product), values in found.items():
        above, tied, count = (np.array(sum(v)) for v in values)
        others = np.setdiff1d(np.arange(bought.products), bought.product[bought.user == user])
        truth = np.r_[1, np.zeros(len(others))]
        expected = roc_auc_score(truth, np.r_[scores[user, product], scores[user, others]])
        assert auc(above, tied, count)[0] == pytest.approx(expected)


def test_a_user_who_bought_everything_has_no_candidates_and_no_list() -> None:
    one = shop(2, users=1, warm=6, cold=3, most=0)
    bought = one.purchases
    test = np.where(bought.is_cold, 4, 0).astype(np.int8)
    everything = replace(
        bought, user=np.zeros(9, np.int64), product=np.arange(9), rating=np.ones(9, np.float32), split=test
    )
    blocks = run(replace(one, purchases=everything), best=(5, 2))
    assert all(sum(values[2]) == 0 for values in all_pairs(blocks).values())
    assert lists(blocks, 5) == [[]]


def test_copies_of_a_product_tie_exactly_with_real_numbers() -> None:
    """The pair's own score and its competitors' come from different tiles, yet equal vectors give equal scores."""
    rng = np.random.default_rng(0)
    some = shop(7, users=30, warm=3000, cold=300, dim=100, most=6)
    copies = rng.integers(0, 40, 3300)
    users = rng.standard_normal((30, 100)).astype(np.float32)
    vectors = np.vstack((users, rng.standard_normal((40, 100)).astype(np.float32)[copies]))
    some = replace(some, vectors=vectors, has_vector=np.ones(3330, bool))
    bought = some.purchases
    found = all_pairs(run(some, 1024, 256, 1000))
    assert found == all_pairs(run(some, 1024, 256, 7))
    for (user, product), values in found.items():
        others = np.setdiff1d(np.flatnonzero(copies == copies[product]), bought.product[bought.user == user])
        assert sum(values[1]) == len(others)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from([-3.5, -1.0, -0.0, 0.0, 1e-40, 2.0, 2.5e8]) | st.floats(-9, 9, width=32), min_size=2, max_size=150),
    st.data(),
)  # fmt: skip
def test_keep_best_keeps_the_first_of_equals(numbers: list[float], data: st.DataObject) -> None:
    """In one row of three; the bar is any that the k best reach."""
    k = data.draw(st.integers(1, min(len(numbers) - 1, 60)))
    values = np.full((3, 192), -np.inf, np.float32)
    values[1, : len(numbers)] = numbers
    columns = np.tile(np.arange(192, dtype=np.int32), (3, 1))
    expected = np.sort(np.argsort(-values[1], kind="stable")[:k])
    kth = np.sort(values[1])[-k]
    bar = data.draw(st.sampled_from([-np.inf, kth, min(numbers)]))
    assert kernel.keep_best(values, columns, 1, k, bar) == kth
    assert columns[1, :k].tolist() == expected.tolist()
    assert values[1].tolist() == np.array(numbers, np.float32)[expected].tolist() + [-np.inf] * (192 - k)
    assert (values[::2] == -np.inf).all()


@numba.njit
def compare(array: Any, at: int, bar: Any) -> Any:
    return bits.above(array, at, bar), bits.reaching(array, at, bar)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 1.5, np.inf]), min_size=64, max_size=64),
    st.integers(0, 3),
    st.sampled_from([-np.inf, 0.0, 1.5]),
)
def test_bits_are_the_comparisons(numbers: list[float], before: int, bar: float) -> None:
    scores = np.zeros((2, 64), np.float32)
    scores.flat[before : before + 64] = numbers
    above, reaching = compare(scores, before, np.float32(bar))
    assert [above >> i & 1 for i in range(64)] == [number > bar for number in numbers]
    assert [reaching >> i & 1 for i in range(64)] == [number >= bar for number in numbers]


def test_ties_are_not_broken_by_id() -> None:
    """With all scores equal, different seeds recommend different products."""
    flat = shop(1, users=2, warm=200, cold=0, most=0, low=0, high=0)
    firsts = {seed: lists(run(flat, best=(5, 0), seed=seed), 5, seed)[1] for seed in range(4)}
    assert len({tuple(products) for products in firsts.values()}) == 4


def test_the_spark_job_gives_the_same_rows_for_any_blocks(spark: SparkSession, tmp_path: Path) -> None:
    some = shop(3, users=23, warm=50, cold=20)
    model = models.vasg(some.purchases, some.embeddings, 3)
    results = []
    for size in (5, 1000):
        ranks, out = tmp_path / f"ranks{size}", tmp_path / f"lists{size}"
        ranks.mkdir()
        wanted = tasks.Lists(6, 3, "r", "2024-05-06", out, some.has_vector[:23])
        how = Settings(some.purchases.warm, model.catalogue.warm_tiles, (6, 3))
        with replicate(spark, tasks.purchase_arrays(some.purchases)) as shared:
            parts = tasks.run(spark, model, shared, how, ranks, wanted, size)
        assert len(parts) == -(-23 // size)
        results.append([rows(pq.read_table(path, partitioning=None)) for path in (ranks, out)])
    assert results[0] == results[1]
    found = all_pairs(run(some))
    assert len(results[0][0]) == 2 * len(found)
    expected = [
        (f"u{user}", rank + 1, f"p{product:03d}", score, product >= 50, "vasg", "r")
        for user in np.flatnonzero(some.has_vector[:23]).tolist()
        for rank, (score, product) in enumerate(expected_list(some, user, 6, 3))
    ]
    assert results[0][1] == sorted(expected)


@pytest.mark.parametrize(
    ("top_k", "share", "places"), [(100, 0.5, 50), (100, 0.29, 29), (10, 0.01, 1), (10, 0, 0), (3, 1, 3)]
)
def test_cold_places(top_k: int, share: float, places: int) -> None:
    assert cold_places(top_k, share) == places
