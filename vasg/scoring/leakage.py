"""Checks that stop the job before anything is scored: a metric over leaked pairs is worse than none."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vasg import schemas
from vasg.errors import DataError
from vasg.scoring.inputs import ORIGINS, SPLITS, Embeddings, Purchases
from vasg.warehouse.tables import Warehouse

_WALKS = 16_384  # that are looked at
_MADE_FROM_PURCHASES = {"generate_walks": "walks", "train": "embeddings"}  # stage -> what it made


def check(warehouse: Warehouse, purchases: Purchases, embeddings: Embeddings) -> None:
    """Raise DataError, naming the first offender and how many there are, when test data can have reached the model.

    A pair is in one split, once; cold products have no purchase in train, and warm ones do; the vectors of cold products
    and of users without a train pair do not come from walks over purchases; walks and embeddings were made from the very
    tables that are published now, and the first walks go along train pairs only.
    """
    _check_pairs(purchases)
    _check_splits(purchases)
    trained = embeddings.origin == ORIGINS.index("trained")
    cold_trained = purchases.is_cold & trained[purchases.users :]
    _refuse_products(purchases, cold_trained, "cold, but their embeddings were trained on purchases", "train")
    without = trained[: purchases.users] & (purchases.per_user("train") == 0)
    what = "without a purchase in split train, but their embeddings were trained"
    _refuse(without, "user", purchases.user_ids, what, "train")
    _check_origin(warehouse)
    _check_walks(warehouse, purchases)


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
    in_train = purchases.per_product("train") > 0
    cold_pair = purchases.per_product("test_cold", "validation_cold") > 0
    warm_pair = purchases.per_product("test_warm", "validation_warm") > 0
    _refuse_products(purchases, cold_pair & in_train, "held out as cold, but bought in split train", "filter_users")
    _refuse_products(
        purchases, warm_pair & ~in_train, "held out as warm, but not bought in split train", "filter_users"
    )
    _refuse_products(purchases, purchases.is_cold & in_train, "marked cold, but bought in split train", "filter_users")
    _refuse_products(
        purchases, ~purchases.is_cold & ~in_train, "marked warm, but not bought in split train", "filter_users"
    )


def _check_origin(warehouse: Warehouse) -> None:
    """What a stage has read, by digest, is what is published: of another split it would have seen the test pairs."""
    stages = warehouse.catalog()["stages"]
    for stage, made in _MADE_FROM_PURCHASES.items():
        if "inputs" not in stages.get(stage, {}):
            raise DataError(f"leakage: it is not known what table {made} was made from; run {stage} again")
        for table in warehouse.changed_since(stage):
            raise DataError(
                f"leakage: table {made} was made from another version of table {table} than the one published now, "
                f"so that test pairs may have reached it; run {stage} again"
            )


def _check_walks(warehouse: Warehouse, purchases: Purchases) -> None:
    """The steps of one row group of walks are train pairs: a sample, because there can be billions of steps."""
    first = next(warehouse.batches("walks", ["walk"]), None)
    if first is None:
        return
    walks = schemas.fixed_width(first["walk"][:_WALKS], "walks", "walk").astype(np.int64)  # w x walk_length
    steps = np.sort(np.stack([walks[:, :-1], walks[:, 1:]], axis=-1).reshape(-1, 2))  # user, product, whatever the way
    known = np.column_stack([purchases.user, purchases.product + purchases.users])[purchases.of("train")]
    nodes = purchases.users + purchases.products
    wrong = ~np.isin(steps @ [nodes, 1], known @ [nodes, 1])
    if wrong.any():
        one, other = steps[wrong.argmax()]
        raise DataError(
            f"leakage: {wrong.sum()} of {len(steps)} steps of walks are no pair of split train, the first between nodes "
            f"{one} and {other}; run generate_walks again"
        )


def _refuse_products(purchases: Purchases, wrong: NDArray[np.bool_], what: str, stage: str) -> None:
    _refuse(wrong, "product", purchases.product_ids, what, stage)


def _refuse(wrong: NDArray[np.bool_], kind: str, ids: pa.Array, what: str, stage: str) -> None:
    if wrong.any():
        first = ids[int(wrong.argmax())]
        raise DataError(f"leakage: {wrong.sum()} {kind}s are {what}, first {kind} {first}; run {stage} again")
