"""Which users and products take part, and which of their pairs are held out for validation and test.

Counter-based hashes of the ids decide, so what happens to a user depends on nothing but that user's own
products; with the method "time" also on when all purchases were made.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from vasg.config import Split
from vasg.errors import DataError
from vasg.nodes import PARTS, interactions, number_nodes, numbered
from vasg.pipeline.job import Job
from vasg.randomness import hash64, uniform
from vasg.spark.persisted import persisted

Counts = dict[str, int]


@dataclass(frozen=True)
class Filtered:
    """The tables of the stage, what they hold (for their manifests) and what happened to the reviews."""

    nodes: DataFrame
    interactions: DataFrame
    nodes_facts: Counts
    interactions_facts: Counts
    counts: Counts


def body(job: Job) -> None:
    """Filter and split; both tables are written while the intermediate results are kept."""
    reviews, image_features = job.read("reviews"), job.read("image_features")
    with filter_users(reviews, image_features, job.config.split, job.config.seed) as result:
        job.publication.write("nodes", result.nodes, result.nodes_facts)
        job.publication.write("interactions", result.interactions, result.interactions_facts)
        job.count(**result.counts)


@contextmanager
def filter_users(reviews: DataFrame, image_features: DataFrame, config: Split, seed: int) -> Iterator[Filtered]:
    """The tables ``nodes`` and ``interactions`` from ``reviews`` and the product ids of ``image_features``.

    Intermediate results are kept while the context lasts: write the tables inside. Raises DataError when no
    product has a feature, or no user, no train pair or (``method = "time"``) no test pair is left.
    """
    with ExitStack() as kept:
        pairs = kept.enter_context(persisted(distinct_pairs(reviews, image_features, config.missing_features)))
        counts = _count_dropped(pairs, image_features, config.min_user_products)
        parts = assign_parts(drop_users(pairs, config.min_user_products), config, seed)
        parts = kept.enter_context(persisted(parts))
        catalogue = image_features if config.catalogue == "all" else None
        nodes = kept.enter_context(number_nodes(parts, catalogue))
        nodes_facts, splits = _count_nodes(nodes)
        _check_parts(splits, config)
        table = nodes.drop(*PARTS)
        yield Filtered(table, interactions(parts, table), nodes_facts, splits, counts | nodes_facts | splits)


def distinct_pairs(reviews: DataFrame, image_features: DataFrame, missing_features: str) -> DataFrame:
    """One row a (user_id, product_id): rating and timestamp of its latest review, the higher rating of simultaneous ones.

    ``reviews`` counts the reviews behind the pair, ``has_feature`` tells whether the product has an image feature, and
    ``eligible`` whether the pair may take part.
    """
    latest = F.max(F.struct("timestamp", "rating"))  # a total order: independent of the order of the reviews
    pairs = reviews.groupBy("user_id", "product_id").agg(latest.alias("latest"), F.count("*").alias("reviews"))
    pictured = image_features.select("product_id", F.lit(True).alias("has_feature")).distinct()
    joined = pairs.join(pictured, "product_id", how="left").withColumn(
        "has_feature", F.coalesce("has_feature", F.lit(False))
    )
    eligible = F.col("has_feature") if missing_features == "drop" else F.lit(True)
    return joined.select(
        "user_id",
        "product_id",
        "latest.rating",
        "latest.timestamp",
        "reviews",
        "has_feature",
        eligible.alias("eligible"),
    )


def drop_users(pairs: DataFrame, min_user_products: int) -> DataFrame:
    """The eligible pairs of users who have at least so many of them."""
    eligible = pairs.where("eligible").select("user_id", "product_id", "rating", "timestamp")
    enough = (
        eligible.groupBy("user_id").agg(F.count("*").alias("products")).where(F.col("products") >= min_user_products)
    )
    return eligible.join(enough, "user_id", how="left_semi")


def assign_parts(pairs: DataFrame, config: Split, seed: int) -> DataFrame:
    """Distinct pairs (user_id, product_id, rating, timestamp) get a ``part``: train, validation or test.

    A held-out product has all its pairs in test; ``config.method`` divides the others.
    """
    drawn = draw(pairs, seed, config.holdout_cold_fraction)
    if config.method == "leave_one_out":
        part = _leave_one_out(config.validation)
    elif config.method == "time":
        part = _by_time(drawn.where(~F.col("held_out")), config)
    else:
        part = F.lit("train")
    part = F.when(F.col("held_out"), "test").otherwise(part)
    return drawn.select("user_id", "product_id", "rating", part.alias("part"))


def draw(pairs: DataFrame, seed: int, holdout_cold_fraction: float) -> DataFrame:
    """Adds ``held_out`` (depends on the product alone) and ``draw`` (random, of the pair), functions of seed and ids."""
    keyed = pairs.select("*", F.xxhash64("user_id").alias("user_key"), F.xxhash64("product_id").alias("product_key"))
    columns = ", ".join(f"`{field.name}` {field.dataType.simpleString()}" for field in pairs.schema.fields)
    function = partial(_draw_batches, seed=seed, fraction=holdout_cold_fraction)
    return keyed.mapInArrow(function, f"{columns}, held_out boolean, draw long")


def held_out(product_ids: DataFrame, seed: int, holdout_cold_fraction: float) -> DataFrame:
    """Those of the products (column product_id) whose every pair ``assign_parts`` holds out."""
    anybody = product_ids.select(F.lit("").alias("user_id"), "product_id")
    return draw(anybody, seed, holdout_cold_fraction).where("held_out").select("product_id")


def _draw_batches(batches: Iterator[pa.RecordBatch], seed: int, fraction: float) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        user, product = (batch.column(name).to_numpy() for name in ("user_key", "product_key"))
        names, columns = batch.schema.names[:-2], batch.columns[:-2]
        held_out = uniform(seed, "holdout", product) < fraction
        # the same order as unsigned
        signed = (hash64(seed, "split", user, product) ^ np.uint64(1 << 63)).view(np.int64)
        yield pa.RecordBatch.from_arrays([*columns, pa.array(held_out), pa.array(signed)], [*names, "held_out", "draw"])


def _leave_one_out(validation: bool) -> Column:
    """The user's first product by draw is the test product, the next the validation product; the last is always train."""
    order = Window.partitionBy("user_id", "held_out").orderBy("draw", "product_id")
    rank, is_last = F.row_number().over(order), F.lead("product_id").over(order).isNull()
    part = F.when(is_last, "train").when(rank == 1, "test")
    return (part.when(rank == 2, "validation") if validation else part).otherwise("train")


def _by_time(pairs: DataFrame, config: Split) -> Column:
    """The latest ``test_fraction`` of the pairs is test, the ``validation_fraction`` before it validation.

    Pairs of the same time stay together, on the earlier side: a part is never larger than its fraction.
    """
    with numbered(pairs.select("timestamp"), "timestamp") as ordered:
        total = ordered.count()
        test = int(total * config.test_fraction)
        held = test + (int(total * config.validation_fraction) if config.validation else 0)
        last = {total - test - 1, total - held - 1}  # the last pairs that come before test, and before validation
        found = {row.number: row.timestamp for row in ordered.where(F.col("number").isin(list(last))).collect()}
    if len(found) < len(last):
        raise DataError(
            f"the time split leaves 0 of {total} pairs for training; lower split.test_fraction, "
            "split.validation_fraction or split.holdout_cold_fraction"
        )
    time = F.col("timestamp")
    part = F.when(time > found[total - test - 1], "test").when(time > found[total - held - 1], "validation")
    return part.otherwise("train")


def _count_dropped(pairs: DataFrame, image_features: DataFrame, min_user_products: int) -> Counts:
    """What happens to reviews, products without a feature and users. Raises DataError when all are without, or dropped."""
    users = pairs.groupBy("user_id").agg(
        F.sum("reviews").alias("reviews"), F.count("*").alias("pairs"), F.count_if("eligible").alias("eligible"),
        F.count_if(~F.col("has_feature")).alias("without"),
    )  # fmt: skip
    few = F.col("eligible") < min_user_products
    row: dict[str, Any] = users.agg(
        F.sum("reviews").alias("reviews"), F.sum("pairs").alias("pairs"), F.sum("without").alias("without"),
        F.count("*").alias("users"), F.count_if(few).alias("dropped"), F.sum(F.when(few, F.col("eligible"))).alias("lost"),
    ).first().asDict()  # type: ignore[union-attr]  # fmt: skip
    if row["pairs"] and row["without"] == row["pairs"]:
        raise DataError(_foreign_ids(pairs, image_features))
    if row["users"] == row["dropped"]:
        raise DataError(
            f"0 users left after dropping those with fewer than {min_user_products} distinct products (of {row['users']} "
            "users); lower split.min_user_products, or check reviews.category and split.missing_features"
        )
    return {
        "reviews": row["reviews"], "repeats_removed": row["reviews"] - row["pairs"],
        "products_without_feature": pairs.where(~F.col("has_feature")).select("product_id").distinct().count(),
        "pairs_without_feature": row["without"], "users_dropped": row["dropped"], "pairs_dropped": row["lost"] or 0,
    }  # fmt: skip


def _foreign_ids(pairs: DataFrame, image_features: DataFrame) -> str:
    """What to say when reviews and image features have no product in common: whose ids they are shows why."""
    first = F.min("product_id").alias("id")
    bought, pictured = (frame.agg(first).collect()[0].id for frame in (pairs, image_features))
    if pictured is None:
        return "there is no image feature at all; check features.path and reviews.category"
    return (
        f"no product of the reviews (such as {bought!r}) has an image feature (there are some of {pictured!r}); give both "
        "the same ids (a product column that was once read as numbers has lost its leading zeros), or check "
        "reviews.product_column and features.path"
    )


def _count_nodes(nodes: DataFrame) -> tuple[Counts, Counts]:
    """Nodes of each kind, and pairs of each split, from the pairs of each product."""
    sums = [F.sum(part).alias(part) for part in PARTS]
    rows = nodes.groupBy("node_type", "is_cold").agg(F.count("*").alias("nodes"), *sums).collect()
    found = {(row.node_type, row.is_cold): row for row in rows}
    user, warm, cold = (found.get(key) for key in (("user", False), ("product", False), ("product", True)))
    splits = {"train": warm.train if warm else 0}
    for part in PARTS[1:]:
        splits |= {f"{part}_warm": warm[part] if warm else 0, f"{part}_cold": cold[part] if cold else 0}
    kinds = {"users": user, "warm_products": warm, "cold_products": cold}
    return {name: row.nodes if row else 0 for name, row in kinds.items()}, splits


def _check_parts(splits: Counts, config: Split) -> None:
    if splits["train"] == 0:
        raise DataError("0 pairs left to train on; lower split.holdout_cold_fraction")
    if config.method == "time" and config.test_fraction and not splits["test_warm"] + splits["test_cold"]:
        raise DataError(
            "the time split finds 0 test pairs: too many pairs have the same time; set reviews.timestamp_column, "
            "or raise split.test_fraction"
        )
