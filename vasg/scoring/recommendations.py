"""The published lists: the best products of each user, with a bounded share of cold ones, and who gets none."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vasg import schemas
from vasg.randomness import hash64
from vasg.scoring.blocks import Best
from vasg.scoring.inputs import Embeddings, Purchases
from vasg.warehouse.publication import Part

NO_PLACES = "cold, and score.max_cold_share is 0"


def cold_places(top_k: int, max_cold_share: float) -> int:
    """How many cold products a list of ``top_k`` may hold: the share rounded down, but one if any are allowed at all."""
    return max(1, math.floor(max_cold_share * top_k + 1e-9)) if max_cold_share > 0 else 0


def merge(best: Best, top_k: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """The two parts of each list in one, best first: scores and products [users, <= top_k], and each list's length.

    Equal scores stand in the order of the seeded permutation "ties".
    """
    scores, products = np.hstack(best.scores), np.hstack(best.products)
    order = np.lexsort((hash64(seed, "ties", 0, products), -scores), axis=1)[:, :top_k]
    scores, products = np.take_along_axis(scores, order, axis=1), np.take_along_axis(products, order, axis=1)
    return scores, products, (scores > -np.inf).sum(axis=1)


def table(
    user_ids: pa.Array, product_ids: pa.Array, user: NDArray[np.int64], warm: int, run_id: str,
    lists: tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]],
) -> pa.Table:  # fmt: skip
    """Rows of the table recommendations for these users, by user and rank."""
    scores, products, length = lists
    taken = np.arange(scores.shape[1]) < length[:, None]
    product = products[taken]
    rank = np.broadcast_to(np.arange(1, scores.shape[1] + 1, dtype=np.int32), scores.shape)[taken]
    columns = {
        "user_id": user_ids.take(pa.array(np.repeat(user, length))).cast(pa.string()),
        "rank": rank,
        "product_id": product_ids.take(pa.array(product)).cast(pa.string()),
        "score": scores[taken],
        "is_cold": product >= warm,
        "source": pa.array(["vasg"], pa.string()).take(pa.array(np.zeros(len(product), np.int64))),
        "run_id": pa.array([run_id], pa.string()).take(pa.array(np.zeros(len(product), np.int64))),
    }
    return pa.table(columns, schema=schemas.TABLES["recommendations"].arrow())


def list_lengths(purchases: Purchases, embeddings: Embeddings, top_k: int, cold: int) -> NDArray[np.int64]:
    """How many recommendations each user must get, [U], counted without any score."""
    has_vector = embeddings.origin >= 0
    is_cold = purchases.is_cold
    scored = has_vector[purchases.users :]
    left = []
    for kind in (scored & ~is_cold, scored & is_cold):
        known = np.bincount(purchases.user[kind[purchases.product]], minlength=purchases.users)
        left.append(kind.sum() - known)
    length = np.minimum(top_k, left[0] + np.minimum(cold, left[1]))
    return np.where(has_vector[: purchases.users], length, 0)


def uncovered(
    purchases: Purchases, embeddings: Embeddings, has_feature: NDArray[np.bool_], lengths: NDArray[np.int64], cold: int
) -> pa.Table:
    """The table uncovered: users who get no list and products that can be in none, with the reason.

    ``lengths`` [U] of the lists, which have room for ``cold`` cold products.
    """
    has_vector = embeddings.origin >= 0
    scored, is_cold = has_vector[purchases.users :], purchases.is_cold
    user_reason = np.select(
        [purchases.per_user("train") == 0, ~has_vector[: purchases.users], lengths == 0],
        ["no purchase in the training data", "no embedding", "no product is left to recommend"], "",
    )  # fmt: skip
    product_reason = np.select(
        [scored & (~is_cold | (cold > 0)), scored, ~is_cold, ~has_feature],
        ["", NO_PLACES, "no embedding", "no purchase in the training data and no usable picture"], "a picture but no embedding",
    )  # fmt: skip
    rows = [
        pa.table({
            "id": ids.filter(pa.array(reason != "")).cast(pa.string()),
            "node_type": pa.array([kind] * int((reason != "").sum()), pa.string()),
            "reason": pa.array(reason[reason != ""].tolist(), pa.string()),
        })
        for kind, ids, reason in (
            ("user", purchases.user_ids, user_reason), ("product", purchases.product_ids, product_reason)
        )
    ]  # fmt: skip
    return pa.concat_tables(rows)


def check_complete(directory: Path, parts: list[Part], purchases: Purchases, lengths: NDArray[np.int64]) -> None:
    """Make sure, from the files, that every user's list has the length that was counted without scores.

    Raises RuntimeError: a list that is missing or too short here would be a bug of ours.
    """
    ends = np.cumsum(lengths)
    if sum(part.rows for part in parts) != lengths.sum():
        raise RuntimeError(f"{sum(part.rows for part in parts)} recommendations instead of {lengths.sum()}")
    begin = 0
    for part in parts:
        found = pq.read_table(directory / part.path, columns=["user_id"], partitioning=None)["user_id"]
        user = np.searchsorted(ends, np.arange(begin, begin + part.rows), side="right")
        expected = purchases.user_ids.take(pa.array(user)).cast(pa.string())
        if not found.equals(pa.chunked_array([expected])):
            raise RuntimeError(f"{part.path}: users do not have as many recommendations as they should")
        begin += part.rows
