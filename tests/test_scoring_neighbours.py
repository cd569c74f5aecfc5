"""image_knn and item_knn through the pass, against their definitions, one user and one product at a time."""

import numpy as np
import pytest
from scoring_shop import Shop, counts, shop
from test_scoring_pass import all_pairs

from vasg.scoring import models, pictures, tasks
from vasg.scoring.blocks import Arrays, Settings, score_block


def found(shop: Shop, model: models.Model, block: int) -> dict[tuple[int, int], tuple[list[int], ...]]:
    shared = {k: v for k, v in tasks.purchase_arrays(shop.purchases).items() if "ids" not in k}
    arrays = Arrays(**shared, **tasks.model_arrays(model))
    how = Settings(shop.purchases.warm, model.catalogue.warm_tiles, by_neighbours=model.by_neighbours, rows=4)
    size = len(model.user)
    return all_pairs([score_block(arrays, how, at, min(size, at + block)) for at in range(0, size, block)])


def agree(shop: Shop, model: models.Model, scores: np.ndarray, block: int) -> None:
    values = found(shop, model, block)
    bought = shop.purchases
    chosen = bought.of("test_warm", "test_cold") & np.isin(bought.user, model.user)
    assert set(values) == set(zip(bought.user[chosen].tolist(), bought.product[chosen].tolist(), strict=True))
    for (user, product), value in values.items():
        assert tuple(map(sum, value)) == counts(shop, scores, user, product, setting_only=False), (user, product)


@pytest.mark.parametrize("block", [3, 100])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_item_knn(seed: int, block: int) -> None:
    some = shop(seed, users=13, warm=20, cold=6, most=60)
    bought, train = some.purchases, some.purchases.of("train")
    matrix = np.zeros((bought.users, bought.products))
    matrix[bought.user[train], bought.product[train]] = 1
    length = np.maximum(np.sqrt(matrix.sum(0)), 1e-30)
    similarity = (matrix.T @ matrix) / length[:, None] / length[None, :]
    users = np.unique(bought.user)[::2]
    agree(some, models.item_knn(bought, users, 0), np.round(matrix @ similarity, 5), block)


@pytest.mark.parametrize("block", [3, 100])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_image_knn(seed: int, block: int) -> None:
    some = shop(seed, users=13, warm=20, cold=6, most=60)
    bought, features = some.purchases, some.features.astype(np.float64)
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-30)
    centred = unit - unit[np.flatnonzero(some.has_feature[: bought.warm])].mean(0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)  # 5 features: their 5 components only turn the space
    scores = np.full((bought.users, bought.products), np.nan)
    for user in range(bought.users):
        mine = bought.product[(bought.user == user) & bought.of("train")]
        mine = mine[some.has_feature[mine]]
        best = (centred @ centred[mine].T).max(1) if len(mine) else np.zeros(bought.products)
        scores[user] = np.where(some.has_feature, np.round(best, 4), np.nan)
    looks = pictures.pictures(bought, some.features.astype(np.float32), some.has_feature)
    model = pictures.image_knn(looks, bought, np.unique(bought.user)[::2], 0)
    agree(some, model, scores, block)


def test_image_knn_of_warm_products_that_all_look_alike_has_nothing_to_tell() -> None:
    """Where features differ in nothing but their length, their components are rounding: no product may win by it."""
    some, rng = shop(0, users=13, warm=20, cold=6, most=60), np.random.default_rng(0)
    features = np.outer(some.has_feature * rng.uniform(1, 2, 26), rng.standard_normal(5)).astype(np.float32)
    looks = pictures.pictures(some.purchases, features, some.has_feature)
    model = pictures.image_knn(looks, some.purchases, np.unique(some.purchases.user), 0)
    agree(some, model, np.where(some.has_feature, 0.0, np.full((some.purchases.users, 1), np.nan)), 100)


def test_image_knn_without_a_picture_of_anything_bought_has_nothing_to_tell() -> None:
    some = shop(0, users=13, warm=20, cold=6, most=60)
    has_feature = some.has_feature & (np.arange(some.purchases.products) >= some.purchases.warm)
    assert has_feature.any()
    looks = pictures.pictures(some.purchases, some.features.astype(np.float32), has_feature)
    model = pictures.image_knn(looks, some.purchases, np.unique(some.purchases.user), 0)
    agree(some, model, np.where(has_feature, 0.0, np.full((some.purchases.users, 1), np.nan)), 100)
