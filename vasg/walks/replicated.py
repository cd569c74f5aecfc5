"""Walks where every host holds the whole graph: no shuffle, and nodes never pass through the JVM."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from vasg.config import Config
from vasg.parts import write_parts
from vasg.publication import Part
from vasg.randomness import stream_key
from vasg.replicated import Replicated, replicate
from vasg.walks import kernel, layout
from vasg.walks.graph import Graph
from vasg.walks.layout import Layout


def write_walks(
    spark: SparkSession, graph: Graph, starts: Mapping[str, NDArray[Any]], layouts: Mapping[str, Layout],
    config: Config, directory: Path,
) -> list[Part]:  # fmt: skip
    """Walk from ``starts`` (start nodes by start type) and write the files of ``layouts`` under ``directory``."""
    parts = []
    with replicate(spark, graph.arrays() | {f"starts_{kind}": nodes for kind, nodes in starts.items()}) as handle:
        for kind, plan in layouts.items():
            tasks = spark.range(0, plan.files, 1, plan.files)  # the id of a row is the number of its partition and file
            transform = _walk_files(
                handle, kind, plan, config.walks.walk_length, config.walks.walks_per_node, config.seed
            )
            schema = layout.schema(graph.indices.dtype)
            parts += write_parts(tasks, transform, directory, schema, f"start_type={kind}")
    return parts


def _walk_files(
    handle: Replicated, kind: str, plan: Layout, walk_length: int, walks_per_node: int, seed: int
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.Table]]:
    """The function of one task: the row groups of the files whose numbers come in."""

    def transform(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
        arrays, stream = handle.open(), stream_key(seed, "walk_step")
        indptr, indices = arrays["indptr"], arrays["indices"]
        for file in (int(file) for batch in batches for file in batch.column(0).to_numpy()):
            for begin, end in plan.row_groups(file):
                ids = layout.walk_ids(plan.walk_numbers(begin, end), arrays[f"starts_{kind}"], walks_per_node)
                walks = np.empty((end - begin, walk_length), indices.dtype)
                kernel.walk(
                    indptr, indices, arrays.get("threshold"), arrays.get("alias"), ids, walks_per_node, stream, walks
                )
                yield layout.table(ids, walks)

    return transform
