"""Walks over a graph that no host could hold: a DataFrame of edges, and one join a step that moves all walks.

An edge carries the degree of its end, so a walk that has arrived knows which slot of its node it takes next, and the join
is on (node, slot). These keys are spread evenly however many neighbours a node has: no list of neighbours ever moves.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import pandas_udf

from vasg.config import Config
from vasg.randomness import hash64, integers
from vasg.spark.paths import address, literal
from vasg.spark.replicated import Replicated, replicate
from vasg.walks import alias as alias_tables
from vasg.walks import layout
from vasg.walks.graph import node_type
from vasg.walks.layout import Layout
from vasg.warehouse.parts import write_numbered
from vasg.warehouse.publication import Part

_STEPS = 8  # between two writes of the state: what a lost host costs, and how many shuffles lie on disk at a time


def write_walks(
    interactions: DataFrame, degrees: NDArray[np.uint32], starts: Mapping[str, NDArray[Any]],
    layouts: Mapping[str, Layout], config: Config, directory: Path,
) -> list[Part]:  # fmt: skip
    """Walk from ``starts`` (start nodes by start type) and write the files of ``layouts`` under ``directory``.

    ``degrees`` [V]. The same walks in the same files as those of the replicated strategy.
    """
    spark, id_type, walks = interactions.sparkSession, node_type(len(degrees)), config.walks
    weighted, scratch = walks.transition == "rating", directory / "_steps"
    edges = edges_by_slot(interactions, weighted).persist(StorageLevel.DISK_ONLY)
    try:
        with replicate(spark, {"degrees": degrees} | {f"starts_{kind}": n for kind, n in starts.items()}) as handle:
            states = [_start(spark, handle, kind, plan, walks.walks_per_node) for kind, plan in layouts.items()]
            state = _advance(reduce(DataFrame.union, states), edges, weighted, walks.walk_length, config.seed, scratch)
            files = state.repartition("start_type", "file").write.partitionBy("start_type", "file")
            files.parquet(address(scratch / "files"))
        sort_file = _sort_files(scratch / "files", layouts, id_type)
        targets = layout.targets(layouts, directory, id_type)
        parts = write_numbered(spark, len(layout.files(layouts)), sort_file, targets)
    finally:
        edges.unpersist()
        shutil.rmtree(scratch, ignore_errors=True)
    return [part for kind in layouts for part in parts[kind]]


def edges_by_slot(interactions: DataFrame, weighted: bool) -> DataFrame:
    """(node, slot, neighbour, neighbour_degree) for every train pair in both directions, distributed by (node, slot).

    Slot s of a node is its s-th neighbour in ascending order. With ``weighted``, also (threshold, alias, alias_degree).
    """
    whole = (Window.unboundedPreceding, Window.unboundedFollowing)
    so_far = (Window.unboundedPreceding, Window.currentRow)
    by_user, by_product = Window.partitionBy("user"), Window.partitionBy("product")
    pairs = interactions.where(F.col("split") == "train").select(
        "user", "product", "rating",
        (F.row_number().over(by_user.orderBy("product").rowsBetween(*so_far)) - 1).cast("long").alias("user_slot"),
        F.count("*").over(by_user.orderBy("product").rowsBetween(*whole)).alias("user_degree"),
        (F.row_number().over(by_product.orderBy("user").rowsBetween(*so_far)) - 1).cast("long").alias("product_slot"),
        F.count("*").over(by_product.orderBy("user").rowsBetween(*whole)).alias("product_degree"),
    )  # fmt: skip
    edges = pairs.select(F.inline(F.array(_edge("user", "product"), _edge("product", "user"))))
    partitions = int(interactions.sparkSession.conf.get("spark.sql.shuffle.partitions") or "200")
    if weighted:
        lists = edges.repartition(partitions, "node").sortWithinPartitions("node", "slot")
        edges = lists.mapInArrow(
            _add_aliases,
            "node long, slot long, neighbour long, neighbour_degree long, threshold long, alias long, alias_degree long",
        )
    else:
        edges = edges.drop("rating")
    return edges.repartition(partitions, "node", "slot").sortWithinPartitions("node", "slot")


def _edge(node: str, neighbour: str) -> Column:
    return F.struct(
        F.col(node).alias("node"), F.col(f"{node}_slot").alias("slot"), F.col(neighbour).alias("neighbour"),
        F.col(f"{neighbour}_degree").alias("neighbour_degree"), F.col("rating").alias("rating"),
    )  # fmt: skip


def _add_aliases(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Edges ordered by (node, slot) with ``rating`` -> the same with threshold, alias and alias_degree."""
    for edges in _whole_nodes(batches):
        node = edges.column("node").to_numpy()
        indptr = np.flatnonzero(np.concatenate([[True], node[1:] != node[:-1], [True]]))
        threshold, other = alias_tables.build(indptr, np.arange(len(node)), edges.column("rating").to_numpy())
        chosen = edges.select(["neighbour", "neighbour_degree"]).take(pa.array(other))
        columns = [*edges.drop(["rating"]).columns, pa.array(threshold.astype(np.int64)), *chosen.columns]
        names = ["node", "slot", "neighbour", "neighbour_degree", "threshold", "alias", "alias_degree"]
        yield from pa.table(columns, names).to_batches(max_chunksize=65_536)


def _whole_nodes(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The same rows, ordered by node, in tables that never split a node."""
    pending: list[pa.RecordBatch] = []
    for batch in (batch for batch in batches if batch.num_rows):
        node = batch.column("node").to_numpy()
        last = int(np.searchsorted(node, node[-1]))  # the last node may go on in the next batch
        if pending and (last > 0 or pending[-1].column("node")[-1].as_py() != node[0]):
            yield pa.Table.from_batches([*pending, batch.slice(0, last)]).combine_chunks()
            pending = []
        elif last > 0:
            yield pa.Table.from_batches([batch.slice(0, last)])
        pending.append(batch.slice(last))
    if pending:
        yield pa.Table.from_batches(pending).combine_chunks()


def _start(spark: SparkSession, handle: Replicated, kind: str, plan: Layout, walks_per_node: int) -> DataFrame:
    """One row a walk before its first step: (start_type, file, position, walk_id, current, degree, walk)."""

    def start(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        arrays = handle.open()
        for batch in (batch for batch in batches if batch.num_rows):
            positions = batch.column(0).to_numpy()  # consecutive
            begin, end = int(positions[0]), int(positions[-1]) + 1
            ids = layout.walk_ids(plan.walk_numbers(begin, end), arrays[f"starts_{kind}"], walks_per_node)
            current = ids // walks_per_node
            degree = arrays["degrees"][current].astype(np.int64)
            yield pa.record_batch(
                [pa.array(a) for a in (plan.files_of(begin, end), positions, ids, current, degree)],
                ["file", "position", "walk_id", "current", "degree"],
            )

    columns = "file long, position long, walk_id long, current long, degree long"
    begun = spark.range(0, plan.walks).mapInArrow(start, columns)
    return begun.select(F.lit(kind).alias("start_type"), "*", F.array("current").alias("walk"))


def _advance(
    state: DataFrame, edges: DataFrame, weighted: bool, walk_length: int, seed: int, scratch: Path
) -> DataFrame:
    """All walks at their full length: (start_type, file, position, walk_id, walk)."""
    spark = state.sparkSession
    for step in range(walk_length - 1):
        choice = _choose(seed, step)(F.col("walk_id"), F.col("degree"))
        asked = state.withColumn("choice", choice).withColumn("asked", F.col("choice.slot"))
        arrived = asked.join(
            edges.hint("merge"), on=[asked["current"] == edges["node"], asked["asked"] == edges["slot"]], how="inner"
        )
        own, own_degree = F.col("neighbour"), F.col("neighbour_degree")
        if weighted:
            keeps = F.col("choice.coin") < F.col("threshold")
            own, own_degree = (
                F.when(keeps, own).otherwise(F.col("alias")),
                F.when(keeps, own_degree).otherwise(F.col("alias_degree")),
            )
        state = arrived.select(
            "start_type", "file", "position", "walk_id", own.alias("current"), own_degree.alias("degree"),
            F.concat("walk", F.array(own)).alias("walk"),
        )  # fmt: skip
        if (step + 1) % _STEPS == 0:
            state.write.parquet(address(scratch / f"step_{step}"))
            state = spark.read.parquet(literal(scratch / f"step_{step}"))
            shutil.rmtree(scratch / f"step_{step - _STEPS}", ignore_errors=True)
    return state.select("start_type", "file", "position", "walk_id", "walk")


def _choose(seed: int, step: int) -> Callable[[Column, Column], Column]:
    """(walk_id, degree) -> the slot a walk takes at this step, and the coin that decides between slot and alias."""

    def choose(walk_id: pd.Series, degree: pd.Series) -> pd.DataFrame:
        ids = walk_id.to_numpy()
        slot = integers(seed, "walk_step", ids, step, degree.to_numpy())
        coin = (hash64(seed, "walk_step", ids, step) & np.uint64(0xFFFFFFFF)).astype(np.int64)
        return pd.DataFrame({"slot": slot, "coin": coin})

    # it is a pure function, but Spark would evaluate one that it knows to be pure twice: for the join's null check, too
    udf: Callable[[Column, Column], Column] = pandas_udf(choose, "slot long, coin long").asNondeterministic()  # type: ignore[call-overload]
    return udf


def _sort_files(
    source: Path, layouts: Mapping[str, Layout], id_type: np.dtype[Any]
) -> Callable[[int], Iterator[tuple[str, pa.Table]]]:
    """The function of one task: the row groups of the file with that number, from unordered walks."""
    files = layout.files(layouts)

    def sort_file(number: int) -> Iterator[tuple[str, pa.Table]]:
        kind, file = files[number]
        rows = pq.read_table(source / f"start_type={kind}" / f"file={file}", partitioning=None)
        rows = rows.sort_by("position").combine_chunks()
        walks = rows.column("walk").combine_chunks().flatten().to_numpy()
        walks = walks.reshape(rows.num_rows, -1).astype(id_type)  # [walks of the file, walk_length]
        ids, first = rows.column("walk_id").to_numpy(), 0
        for begin, end in layouts[kind].row_groups(file):
            last = first + end - begin
            yield kind, layout.table(ids[first:last], walks[first:last])
            first = last
        assert first == rows.num_rows, f"file {file} has {rows.num_rows} walks instead of {first}"

    return sort_file
