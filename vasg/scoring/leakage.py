"""Checks that stop the job before anything is scored: a metric over leaked pairs is worse than none."""

import numpy as np
from numpy.typing import NDArray

from vasg.errors import DataError
from vasg.scoring.inputs import ORIGINS, SPLITS, Embeddings, Purchases


def check(purchases: Purchases, embeddings: Embeddings) -> None:
    """Raise DataError, naming the first offender and how many there are, when test data can have reached the model.

    A pair is in one split, once; cold products have no purchase in train, and warm ones do; the vectors of cold products
    do not come from walks over purchases. Warm products whose vectors were mapped from pictures leak nothing.
    """
    _check_pairs(purchases)
    _check_splits(purchases)
    cold_trained = purchases.is_cold & (embeddings.origin[purchases.users :] == ORIGINS.index("trained"))
    _refuse_products(purchases, cold_trained, "cold, but their embeddings were trained on purchases", "train")


def _check_pairs(purchases: Purchases) -> None:
    repeated = (np.diff(purchases.user) == 0) & (np.diff(purchases.product) == 0)  # sorted by (user, product)
    if repeated.any():
        at = int(repeated.argmax())
        names = sorted({SPLITS[purchases.split[at]], SPLITS[purchases.split[at + 1]]})
        where = f"splits {names[0]} and {names[1]}" if len(names) > 1 else f"split {names[0]}"
        raise DataError(
            f"table interactions: {repeated.sum()} pairs are there more than once, first user "
            f"{purchases.user_ids[purchases.user[at]]} and product {purchases.product_ids[purchases.product[at]]} in "
            f"{where}; run filter_users again"
        )


def _check_splits(purchases: Purchases) -> None:
    in_train = _has_pair(purchases, "train")
    cold_pair = _has_pair(purchases, "test_cold", "validation_cold")
    warm_pair = _has_pair(purchases, "test_warm", "validation_warm")
    _refuse_products(purchases, cold_pair & in_train, "held out as cold, but bought in split train", "filter_users")
    _refuse_products(
        purchases, warm_pair & ~in_train, "held out as warm, but not bought in split train", "filter_users"
    )
    _refuse_products(purchases, purchases.is_cold & in_train, "marked cold, but bought in split train", "filter_users")
    _refuse_products(
        purchases, ~purchases.is_cold & ~in_train, "marked warm, but not bought in split train", "filter_users"
    )


def _has_pair(purchases: Purchases, *splits: str) -> NDArray[np.bool_]:
    return np.bincount(purchases.product[purchases.of(*splits)], minlength=purchases.products) > 0


def _refuse_products(purchases: Purchases, wrong: NDArray[np.bool_], what: str, stage: str) -> None:
    if wrong.any():
        first = purchases.product_ids[int(wrong.argmax())]
        raise DataError(f"leakage: {wrong.sum()} products are {what}, first product {first}; run {stage} again")
