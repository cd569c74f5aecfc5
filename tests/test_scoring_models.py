"""The baselines as vectors, against their definitions in plain numpy, and the matrix of image features."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoring_shop import Shop, publish, shop, with_splits

from vasg.errors import DataError
from vasg.features.matrix import feature_matrix
from vasg.scoring import models, pictures
from vasg.scoring.inputs import SPLITS
from vasg.warehouse.tables import Warehouse


def scores(model: models.Model) -> np.ndarray:
    """[n, P], NaN for products without a column."""
    columns = model.catalogue
    found = model.user_vectors.astype(np.float64) @ columns.vectors.astype(np.float64).T
    return np.where(columns.column >= 0, found[:, columns.column], np.nan)


def looks_of(shop: Shop) -> pictures.Pictures:
    return pictures.pictures(shop.purchases, shop.features, shop.has_feature)


def train_products(shop: Shop, user: int) -> np.ndarray:
    bought = shop.purchases
    return np.flatnonzero((bought.user == user) & bought.of("train") & shop.has_feature[bought.product])


def expected_scores(shop: Shop, user: int, weight: float) -> tuple[np.ndarray, np.ndarray]:
    """Oracle for wboi and visual_popular, [P] each, one user at a time."""
    bought, features = shop.purchases, shop.features.astype(np.float64)
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-30)
    pairs = train_products(shop, user)
    sold = np.array([((bought.product == p) & bought.of("train")).sum() for p in range(bought.products)])
    mean, profile = np.zeros(features.shape[1]), np.zeros(features.shape[1])
    if len(pairs):
        mean = np.average(features[bought.product[pairs]], axis=0, weights=bought.rating[pairs])
        mean /= np.linalg.norm(mean)
        profile = unit[bought.product[pairs]].mean(axis=0)
    return unit @ mean, unit @ profile + weight * np.log1p(sold)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("chunk", [1, 64 << 20])
def test_picture_models(dtype: type, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "_CHUNK_BYTES", chunk)
    some = shop(4, users=15, warm=30, cold=8)
    some = replace(some, features=some.features.astype(dtype))
    looks, users = looks_of(some), np.array([0, 3, 4, 14])
    columns = pictures.picture_catalogue(looks, some.purchases, 0)
    wboi = scores(pictures.wboi(looks, some.purchases, users, columns))
    visual = scores(pictures.visual_popular(looks, some.purchases, users, columns, 0.25))
    tolerance = 1e-6 if dtype is np.float32 else 3e-3
    for row, user in enumerate(users):
        for found, expected in zip((wboi[row], visual[row]), expected_scores(some, user, 0.25), strict=True):
            assert np.array_equal(np.isnan(found), ~some.has_feature)
            np.testing.assert_allclose(found[some.has_feature], expected[some.has_feature], atol=tolerance)


def test_a_user_without_pictures_ties_everything_in_wboi() -> None:
    some = shop(4, users=15, warm=30, cold=8)
    bought = some.purchases
    hidden = some.has_feature.copy()
    hidden[bought.product[(bought.user == 2) & bought.of("train")]] = False
    some = replace(some, has_feature=hidden, features=some.features * hidden[:, None])
    looks, users = looks_of(some), np.array([2])
    columns = pictures.picture_catalogue(looks, bought, 0)
    assert np.all(scores(pictures.wboi(looks, bought, users, columns))[0][hidden] == 0)
    popular = scores(pictures.visual_popular(looks, bought, users, columns, 0.5))[0]
    np.testing.assert_allclose(popular[hidden], 0.5 * looks.popularity[hidden], rtol=1e-6)


def test_most_popular_and_random() -> None:
    some = shop(4, users=15, warm=30, cold=8)
    bought, users = some.purchases, np.array([1, 5])
    popular = scores(models.most_popular(bought, users, 0))
    sold = [((bought.product == p) & bought.of("train")).sum() for p in range(38)]
    assert popular.tolist() == [sold, sold]
    first, again = (scores(models.random(bought, u, 0)) for u in (users, np.arange(15)))
    np.testing.assert_array_equal(first, again[users])  # a user's vector does not depend on who else is scored
    assert not np.array_equal(first, scores(models.random(bought, users, 1)))
    assert len(np.unique(first)) == first.size


@pytest.mark.parametrize("shared", [1.0, 0.25, None])
def test_a_user_without_a_vector_has_what_all_users_share(shared: float | None) -> None:
    some = shop(4, users=15, warm=30, cold=8)
    vectors, has_vector = some.vectors.copy(), some.has_vector.copy()
    vectors[:15] = vectors[:15] + 1
    vectors[:15, -1] = np.arange(15) + 1 if shared is None else shared
    has_vector[:15] = np.arange(15) != 2
    vectors[~has_vector] = 0
    given_vectors = replace(some, vectors=vectors, has_vector=has_vector).embeddings
    users = np.arange(15)
    for model in (
        models.vasg(some.purchases, given_vectors, 0), models.learned("bpr", some.purchases, given_vectors, users, 0),
    ):  # fmt: skip
        found = scores(model)
        expected = vectors[15:][:, -1] * (shared or 0.0)
        np.testing.assert_array_equal(found[2], np.where(has_vector[15:], expected, np.nan))
        np.testing.assert_array_equal(model.user_vectors[has_vector[:15]], vectors[:15][has_vector[:15]])
    assert not given_vectors.vectors[2].any()  # the table's own rows stay as they are


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**20))
def test_the_popularity_weight_is_the_best_on_validation_pairs(seed: int) -> None:
    some = shop(seed, users=15, warm=25, cold=5)
    bought = some.purchases
    hidden = bought.of("train", "validation_warm", "validation_cold")
    pairs = np.flatnonzero(bought.of("validation_warm") & some.has_feature[bought.product])
    candidates = np.arange(30)[some.has_feature & ~bought.is_cold]
    auc = []
    for weight in pictures.POPULARITY_WEIGHTS:
        total = 0.0
        for pair in pairs:
            user, product = bought.user[pair], bought.product[pair]
            score = expected_scores(some, int(user), weight)[1]
            others = np.setdiff1d(candidates, bought.product[hidden & (bought.user == user)])
            won = (score[product] > score[others]) + 0.5 * (score[product] == score[others])
            total += won.mean() if len(others) else 0.0
        auc.append(total)
    found = pictures.validation_auc(looks_of(some), bought, 0)
    assert found == pytest.approx(np.array(auc) / len(pairs), abs=2e-3) if len(pairs) else len(found) == 0
    weight = pictures.choose_popularity_weight(looks_of(some), bought, 0)
    best = pictures.POPULARITY_WEIGHTS[int(found.argmax())] if len(pairs) else pictures.DEFAULT_POPULARITY_WEIGHT
    assert weight == best


def test_the_popularity_weight_depends_on_validation_and_not_on_test() -> None:
    test, cold, validation = SPLITS.index("test_warm"), SPLITS.index("test_cold"), SPLITS.index("validation_warm")
    chosen = set()
    for seed in range(12):
        some = shop(seed, users=40, warm=60, cold=10, most=20)
        split, product = some.purchases.split, some.purchases.product.copy()
        weight = pictures.choose_popularity_weight(looks_of(some), some.purchases, 0)
        moved = np.isin(split, [test, cold])
        product[moved] = np.random.default_rng(seed).permutation(product[moved])
        other = replace(some, purchases=replace(some.purchases, product=product))
        assert pictures.choose_popularity_weight(looks_of(other), other.purchases, 0) == weight
        none = with_splits(some, np.where(split == validation, test, split))
        assert (
            pictures.choose_popularity_weight(looks_of(none), none.purchases, 0) == pictures.DEFAULT_POPULARITY_WEIGHT
        )
        chosen.add(weight)
    assert len(chosen) > 2


def features_of(tmp_path: Path, rows: dict[str, list[float]]) -> tuple[np.ndarray, np.ndarray]:
    ids, values = pa.array(list(rows), pa.string()), pa.array(list(rows.values()), pa.list_(pa.float32()))
    warehouse = publish(tmp_path, {"image_features": pa.table({"product_id": ids, "feature": values})})
    return feature_matrix(warehouse, pa.array(["a", "b", "c"]))


def test_feature_matrix_is_aligned(tmp_path: Path) -> None:
    features, has_feature = features_of(tmp_path, {"c": [1.0, 2.0], "x": [9.0, 1e6], "a": [-0.5, 0.0]})
    assert has_feature.tolist() == [True, False, True]
    assert features.tolist() == [[-0.5, 0.0], [0.0, 0.0], [1.0, 2.0]]
    assert features.dtype == np.float16


@pytest.mark.parametrize("value", [70000.0, 1e-6])
def test_features_beyond_half_precision_stay_single(tmp_path: Path, value: float) -> None:
    features, _ = features_of(tmp_path, {"a": [1.0, 1 / 3], "b": [value, 0.0], "c": [0.0, 0.0]})
    assert features.dtype == np.float32
    assert features.tolist() == np.array([[1.0, 1 / 3], [value, 0.0], [0.0, 0.0]], np.float32).tolist()


def test_feature_matrix_over_several_batches(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values, ids = rng.standard_normal((2500, 3)).astype(np.float32), np.array([f"p{i}" for i in range(2500)])
    table = pa.table({"product_id": ids.tolist(), "feature": pa.array(list(values), pa.list_(pa.float32()))})
    asked = rng.permutation(2500)
    features, has_feature = feature_matrix(publish(tmp_path, {"image_features": table}), pa.array(ids[asked].tolist()))
    assert has_feature.all()
    assert np.array_equal(features, values[asked].astype(np.float16))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=4).filter(any), st.integers(1, 12), st.integers(0, 10**6))
def test_feature_matrix_over_several_files_and_row_groups(sizes: list[int], row_group: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((sum(sizes), 3)).astype(np.float32)
    ids = np.array([f"p{i}" for i in range(len(values))], str)
    with tempfile.TemporaryDirectory() as root, Warehouse(root).publication("extract_features", "test", "") as new:
        directory, column = new.directory("image_features"), pa.array(list(values), pa.list_(pa.float32()))
        whole = pa.table({"product_id": pa.array(ids, pa.string()), "feature": column})
        for number, (end, size) in enumerate(zip(np.cumsum(sizes), sizes, strict=True)):
            part = whole.slice(int(end) - size, size)
            pq.write_table(part, directory / f"part-{number:05d}.parquet", row_group_size=row_group)
        new.add("image_features")
        new.commit("", {})
        asked = rng.permutation(len(ids))[: len(ids) // 2]
        features, has_feature = feature_matrix(Warehouse(root), pa.array(ids[asked].tolist(), pa.string()))
    assert has_feature.all()
    assert np.array_equal(features, values[asked].astype(features.dtype))


def test_no_features_at_all(tmp_path: Path) -> None:
    features, has_feature = features_of(tmp_path, {})
    assert features.shape == (3, 0)
    assert not has_feature.any()


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ({"a": [1.0, 2.0], "b": [1.0]}, "lists of one length"),
        ({"a": [1.0, float("nan")]}, "NaN or infinity"),
        ({"a": [1.0, float("-inf")]}, "NaN or infinity"),
    ],
)
def test_features_that_break_the_contract(tmp_path: Path, rows: dict[str, list[float]], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        features_of(tmp_path, rows)


def test_two_features_of_one_product(tmp_path: Path) -> None:
    table = pa.table({"product_id": ["a", "b", "b"], "feature": pa.array([[1.0]] * 3, pa.list_(pa.float32()))})
    with pytest.raises(DataError, match="product b has 2 features"):
        feature_matrix(publish(tmp_path, {"image_features": table}), pa.array(["a", "b"]))
