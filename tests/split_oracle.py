"""The slow way to filter and split, in plain Python, and small tables to compare it on."""

from collections import Counter, defaultdict
from typing import Any, NamedTuple

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from vasg.config import Split
from vasg.randomness import hash64, uniform

SCHEMA = "user_id string, product_id string, rating float, timestamp long"
USERS = [f"u{i}" for i in range(8)]
PRODUCTS = [f"p{i}" for i in range(12)]


class Review(NamedTuple):
    user_id: str
    product_id: str
    rating: float
    timestamp: int


def reviews_frame(spark: SparkSession, reviews: list[Review], partitions: int = 2) -> DataFrame:
    return spark.createDataFrame(pa_table(reviews).to_pandas(), SCHEMA).repartition(partitions)


def pa_table(reviews: list[Review]) -> pa.Table:
    kinds = (pa.string(), pa.string(), pa.float32(), pa.int64())
    columns = zip(*reviews, strict=True)
    return pa.table({n: pa.array(c, k) for n, c, k in zip(Review._fields, columns, kinds, strict=True)})


def features_frame(spark: SparkSession, products: list[str]) -> DataFrame:
    return spark.createDataFrame([(p, [1.0]) for p in products], "product_id string, feature array<float>")


def oracle(reviews: list[Review], pictured: list[str], config: Split, seed: int, keys: dict[str, int]) -> Any:
    """nodes [(node, type, id, is_cold)], interactions {(user_id, product_id): (rating, split)}, counts."""
    latest: dict[tuple[str, str], Review] = {}
    for review in reviews:
        pair = review[:2]
        if pair not in latest or (review.timestamp, review.rating) > (latest[pair].timestamp, latest[pair].rating):
            latest[pair] = review
    without = [r for r in latest.values() if r.product_id not in pictured]
    eligible = [r for r in latest.values() if config.missing_features == "keep" or r.product_id in pictured]
    products_of = Counter(r.user_id for r in eligible)
    kept = {r[:2]: r for r in eligible if products_of[r.user_id] >= config.min_user_products}
    if not kept:
        return None
    everybody, users = {r.user_id for r in reviews}, sorted({u for u, _ in kept})
    part = oracle_parts(kept, config, seed, keys)
    bought = {p for _, p in kept}
    warm = sorted({p for (_, p), name in part.items() if name == "train"})
    cold = sorted((bought | set(pictured if config.catalogue == "all" else [])) - set(warm))
    nodes = (
        [("user", u, False) for u in users]
        + [("product", p, False) for p in warm]
        + [("product", p, True) for p in cold]
    )
    names = {
        (u, p): name if name == "train" else f"{name}_{'warm' if p in warm else 'cold'}"
        for (u, p), name in part.items()
    }
    counts = {
        "reviews": len(reviews), "repeats_removed": len(reviews) - len(latest),
        "products_without_feature": len({r.product_id for r in without}), "pairs_without_feature": len(without),
        "users_dropped": len(everybody) - len(users), "pairs_dropped": len(eligible) - len(kept),
        "users": len(users), "warm_products": len(warm), "cold_products": len(cold), "train": 0,
        "validation_warm": 0, "validation_cold": 0, "test_warm": 0, "test_cold": 0,
    } | Counter(names.values())  # fmt: skip
    return [(i, *n) for i, n in enumerate(nodes)], {pair: (r.rating, names[pair]) for pair, r in kept.items()}, counts


def oracle_parts(kept: dict[Any, Review], config: Split, seed: int, keys: dict[str, int]) -> dict[Any, str]:
    part = {}
    for user, product in kept:
        held_out = uniform(seed, "holdout", keys[product]) < config.holdout_cold_fraction
        part[user, product] = "test" if held_out else "train"
    free = [pair for pair, name in part.items() if name == "train"]
    if config.method == "leave_one_out":
        own = defaultdict(list)
        for user, product in free:
            own[user].append((int(hash64(seed, "split", keys[user], keys[product])), product))
        for user, drawn in own.items():
            for name, (_, product) in zip(
                ["test", "validation"][: 1 + config.validation], sorted(drawn)[:-1], strict=False
            ):
                part[user, product] = name
    if config.method == "time":
        times = sorted(kept[pair].timestamp for pair in free)
        n_test = int(len(free) * config.test_fraction)
        n_held = n_test + (int(len(free) * config.validation_fraction) if config.validation else 0)
        for pair in free:
            if kept[pair].timestamp > times[-n_held - 1]:
                part[pair] = "validation"
            if kept[pair].timestamp > times[-n_test - 1]:
                part[pair] = "test"
    return part


def rows_of(result: Any) -> Any:
    nodes = sorted(tuple(r) for r in result.nodes.select("node", "node_type", "id", "is_cold").collect())
    ids = {node: name for node, _, name, _ in nodes}
    pairs = result.interactions.select("user", "product", "rating", "split").collect()
    table = {(ids[r.user], ids[r.product]): (r.rating, r.split) for r in pairs}
    assert len(table) == len(pairs)  # no pair twice
    return nodes, table, result.counts
