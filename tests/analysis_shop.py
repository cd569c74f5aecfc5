"""Shops for the tests of the analyses: the random ones of the scoring tests, and one of users with a taste each."""

import numpy as np
import pyarrow as pa
from scoring_shop import Shop

from vasg.analysis.inputs import Inputs
from vasg.scoring.inputs import SPLITS, Purchases


def inputs_of(shop: Shop) -> Inputs:
    """What ``read_inputs`` makes of a shop whose users differ in every dimension."""
    users, products = np.split(shop.vectors, [shop.purchases.users])
    has_user, has_product = np.split(shop.has_vector, [shop.purchases.users])
    return Inputs(shop.purchases, users, products, has_user, has_product, shop.features, shop.has_feature)


def purchases_of(rows: list[tuple[int, int, str]], users: int, products: int, cold: int = 0) -> Purchases:
    """Purchases from (user, product, split); the last ``cold`` products are cold."""
    rows = sorted(rows)
    return Purchases(
        pa.array([f"u{u}" for u in range(users)], pa.large_string()),
        pa.array([f"p{p:03d}" for p in range(products)], pa.large_string()),
        np.arange(products) >= products - cold,
        np.array([u for u, _, _ in rows], np.int64),
        np.array([p for _, p, _ in rows], np.int64),
        np.ones(len(rows), np.float32),
        np.array([SPLITS.index(split) for _, _, split in rows], np.int8),
    )


def tastes(groups: int = 60, users: int = 5, products: int = 60, seed: int = 0) -> Inputs:
    """Groups of users who buy ten products of their group each, one for validation and one for test.

    The vector of a product is the direction of its group, that of a user lies there, too; features are noise.
    """
    rng, rows = np.random.default_rng(seed), []
    for user in range(groups * users):
        bought = rng.permutation(products)[:10] + (user % groups) * products
        rows += [(user, int(product), "train") for product in bought[:8]]
        rows += [(user, int(bought[8]), "validation_warm"), (user, int(bought[9]), "test_warm")]
    group = np.repeat(np.arange(groups), products)
    vectors = np.eye(groups, dtype=np.float32)
    every = np.ones(groups * products, np.bool_)
    features = rng.standard_normal((len(group), 20)).astype(np.float32)
    return Inputs(
        purchases_of(rows, groups * users, len(group)), vectors[np.arange(groups * users) % groups], vectors[group],
        np.ones(groups * users, np.bool_), every, features, every,
    )  # fmt: skip
