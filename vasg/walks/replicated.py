"""Walks where every host holds the whole graph: no shuffle, and nodes never pass through the JVM."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from vasg.config import Config
from vasg.randomness import stream_key
from vasg.spark.replicated import Replicated, replicate
from vasg.walks import kernel, layout
from vasg.walks.graph import Graph
from vasg.walks.layout import Layout
from vasg.warehouse.parts import write_numbered
from vasg.warehouse.publication import Part


def write_walks(
    spark: SparkSession, graph: Graph, starts: Mapping[str, NDArray[Any]], layouts: Mapping[str, Layout],
    config: Config, directory: Path,
) -> list[Part]:  # fmt: skip
    """Walk from ``starts`` (start nodes by start type) and write the files of ``layouts`` under ``directory``."""
    with replicate(spark, graph.arrays() | {f"starts_{kind}": nodes for kind, nodes in starts.items()}) as handle:
        walk_file = _walk_files(handle, layouts, config.walks.walk_length, config.walks.walks_per_node, config.seed)
        targets = layout.targets(layouts, directory, graph.indices.dtype)
        parts = write_numbered(spark, len(layout.files(layouts)), walk_file, targets)
    return [part for kind in layouts for part in parts[kind]]


def _walk_files(
    handle: Replicated, layouts: Mapping[str, Layout], walk_length: int, walks_per_node: int, seed: int
) -> Callable[[int], Iterator[tuple[str, pa.Table]]]:
    """The function of one task: the row groups of the file with that number."""
    files = layout.files(layouts)

    def walk_file(number: int) -> Iterator[tuple[str, pa.Table]]:
        (kind, file), arrays, stream = files[number], handle.open(), stream_key(seed, "walk_step")
        indptr, indices, plan = arrays["indptr"], arrays["indices"], layouts[kind]
        for begin, end in plan.row_groups(file):
            ids = layout.walk_ids(plan.walk_numbers(begin, end), arrays[f"starts_{kind}"], walks_per_node)
            walks = np.empty((end - begin, walk_length), indices.dtype)
            kernel.walk(
                indptr, indices, arrays.get("threshold"), arrays.get("alias"), ids, walks_per_node, stream, walks
            )
            yield kind, layout.table(ids, walks)

    return walk_file
