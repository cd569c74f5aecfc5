"""Users and products become numbered nodes, and their pairs become interactions."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vasg.spark.persisted import persisted

PARTS = ("train", "validation", "test")


@contextmanager
def numbered(frame: DataFrame, *keys: str) -> Iterator[DataFrame]:
    """The rows with a column ``number``, 0, 1, 2, ... without gaps in the order of ``keys``.

    A distributed sort gives every row its partition and its place there; the offset of a partition is the number of rows
    before it. Unique keys make the numbers independent of partitioning; rows with equal keys get neighbouring numbers.
    """
    ordered = frame.orderBy(*keys).withColumn("place", F.monotonically_increasing_id())  # partition x 2^33 + row
    with persisted(ordered) as rows:  # the boundaries of a second sort could differ
        partition, row = F.shiftright("place", 33), F.col("place").bitwiseAND(2**33 - 1)
        sizes: dict[int, int] = dict(rows.groupBy(partition).count().collect())  # one row a partition
        counts = [sizes.get(index, 0) for index in range(max(sizes, default=0) + 1)]
        offsets = F.array(*(F.lit(offset).cast("long") for offset in accumulate(counts, initial=0)))
        yield rows.select(*frame.columns, (offsets[partition] + row).alias("number"))


@contextmanager
def number_nodes(pairs: DataFrame, catalogue: DataFrame | None) -> Iterator[DataFrame]:
    """The table ``nodes``, and for each product its pairs in each part: columns train, validation, test.

    ``pairs`` has user_id, product_id and part; ``catalogue``, product_id, adds products that nobody bought. Users come
    first, then products with a train pair (warm), then the others (cold), each sorted by id. A user's parts are null.
    """
    counts = [F.count_if(F.col("part") == part).alias(part) for part in PARTS]
    products = pairs.groupBy("product_id").agg(*counts)
    if catalogue is not None:
        unbought = catalogue.select("product_id").distinct().join(products, "product_id", how="left_anti")
        products = products.unionByName(unbought.select("product_id", *(F.lit(0).cast("long").alias(p) for p in PARTS)))
    cold = F.col("train") == 0
    rows = products.select(
        F.when(cold, 2).otherwise(1).alias("kind"), F.col("product_id").alias("id"), *PARTS
    ).unionByName(
        pairs.select(F.lit(0).alias("kind"), F.col("user_id").alias("id")).distinct(), allowMissingColumns=True
    )
    with numbered(rows, "kind", "id") as nodes:
        yield nodes.select(
            F.col("number").alias("node"),
            F.when(F.col("kind") == 0, "user").otherwise("product").alias("node_type"),
            "id",
            (F.col("kind") == 2).alias("is_cold"),
            *PARTS,
        )


def interactions(pairs: DataFrame, nodes: DataFrame) -> DataFrame:
    """The table ``interactions``: pairs (user_id, product_id, rating, part) with nodes instead of ids.

    The pairs of a user stay together, in order, so that the same input gives the same files.
    """
    users = nodes.where("node_type = 'user'").select(F.col("node").alias("user"), F.col("id").alias("user_id"))
    products = nodes.where("node_type = 'product'").select(
        F.col("node").alias("product"), F.col("id").alias("product_id"), "is_cold"
    )
    warmth = F.when(F.col("is_cold"), "_cold").otherwise("_warm")
    split = F.when(F.col("part") == "train", F.col("part")).otherwise(F.concat("part", warmth))
    joined = pairs.join(users, "user_id", how="inner").join(products, "product_id", how="inner")
    table = joined.select("user", "product", "rating", split.alias("split"))
    return table.repartition("user").sortWithinPartitions("user", "product")
