"""The pass as a Spark job: one task a block of users, vectors memory-mapped, results written by the tasks."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from vasg import schemas
from vasg.scoring import recommendations
from vasg.scoring.blocks import USERS, Arrays, Ranks, Settings, score_block
from vasg.scoring.inputs import Purchases
from vasg.scoring.models import Model
from vasg.spark.replicated import Replicated, replicate
from vasg.warehouse.files import write_atomically
from vasg.warehouse.parts import Target, write_numbered
from vasg.warehouse.publication import Part

_MOST_BLOCKS = 1000
_BLOCK = 4 * USERS  # users of a block, at least


@dataclass(frozen=True)
class Lists:
    """How the recommendations of the published model are made."""

    top_k: int
    seed: int
    run_id: str
    run_date: str
    directory: Path
    covered: NDArray[np.bool_]  # [n] users of the model who have a vector


def block_size(users: int) -> int:
    """Users of a block: a multiple of a tile's, and so many that there are at most a thousand blocks (and files)."""
    return max(_BLOCK, -(-users // (_MOST_BLOCKS * USERS)) * USERS)


def purchase_arrays(purchases: Purchases) -> dict[str, NDArray[Any]]:
    """The arrays that all models share, under the names that the tasks know them by."""
    test, train = purchases.of("test_warm", "test_cold"), purchases.of("train")
    return {
        "bought": purchases.product[train], "bought_starts": purchases.row_starts(train),
        "known": purchases.product, "known_starts": purchases.row_starts(),
        "test": purchases.product[test], "test_starts": purchases.row_starts(test),
    } | _packed("user_ids", purchases.user_ids) | _packed("product_ids", purchases.product_ids)  # fmt: skip


def model_arrays(model: Model) -> dict[str, NDArray[Any]]:
    """The arrays of one model, under the names that the tasks know them by."""
    columns = model.catalogue
    return {
        "user": model.user, "user_vectors": model.user_vectors,
        "row_starts": model.row_starts if model.row_starts is not None else np.zeros(0, np.int64),
        "vectors": columns.vectors, "product": columns.product, "column": columns.column,
    }  # fmt: skip


def run(
    spark: SparkSession, model: Model, shared: Replicated, settings: Settings, pair_ranks: Path, lists: Lists | None = None,
    size: int | None = None,
) -> list[Part]:  # fmt: skip
    """Score a model. Its pair ranks go to files in ``pair_ranks``; with ``lists``, recommendations are written too.

    ``shared`` holds ``purchase_arrays``. Returns the parts of the recommendations. Blocks have ``size`` users; whatever
    it is, the same rows come out.
    """
    arrays = model_arrays(model) | {"covered": lists.covered if lists else np.zeros(0, np.bool_)}
    users, name = len(model.user), model.name
    size = size or block_size(users)
    blocks = -(-users // size)
    wanted = (lists.top_k, lists.seed, lists.run_id) if lists else None  # all that the tasks need of it
    with replicate(spark, arrays) as own:

        def score(block: int) -> Iterator[tuple[str, pa.Table]]:
            opened = shared.open() | own.open()
            inputs = Arrays(**{field.name: opened[field.name] for field in fields(Arrays)})
            begin, end = block * size, min(users, (block + 1) * size)
            ranks, best = score_block(inputs, settings, begin, end)
            if len(ranks.user):
                rows = rank_table(name, ranks, settings.warm, len(inputs.known_starts) - 1)
                _write(rows, pair_ranks / f"part-{name}-{block:05d}.parquet")
            if wanted:
                top_k, seed, run_id = wanted
                scores, products, length = recommendations.merge(best, top_k, seed)
                length = np.where(opened["covered"][begin:end], length, 0)
                yield "", recommendations.table(
                    _unpacked("user_ids", opened), _unpacked("product_ids", opened),
                    np.asarray(inputs.user[begin:end]), settings.warm, run_id, (scores, products, length),
                )  # fmt: skip

        schema = schemas.TABLES["recommendations"].arrow()
        directory, folder = (lists.directory, f"run_date={lists.run_date}") if lists else (pair_ranks, "")
        return write_numbered(spark, blocks, score, {"": Target(directory, schema, folder)})[""]


def rank_table(model: str, ranks: Ranks, warm: int, users: int) -> pa.Table:
    """Rows of the table pair_ranks: two a test pair, among all candidates and among those of its setting."""
    cold = (ranks.product >= warm).astype(np.int64)
    own = np.arange(len(cold)), cold
    tables = []
    for candidates in ("all", "setting"):
        counts = [a.sum(axis=1) if candidates == "all" else a[own] for a in (ranks.above, ranks.tied, ranks.candidates)]
        columns = [
            pa.array([model] * len(cold)), pa.array(["warm", "cold"]).take(pa.array(cold)),
            pa.array([candidates] * len(cold)), ranks.user, ranks.product + users, *counts,
        ]  # fmt: skip
        tables.append(pa.table(columns, schema=schemas.TABLES["pair_ranks"].arrow()))
    return pa.concat_tables(tables)


def _write(rows: pa.Table, path: Path) -> None:
    """Under a name that says all about the content: a retried or speculative attempt writes the same file again."""
    write_atomically(path, lambda temporary: pq.write_table(rows, temporary, compression="zstd"))


def _packed(name: str, ids: pa.Array) -> dict[str, NDArray[Any]]:
    """Strings (large_string) as two arrays of numbers, which can be memory-mapped."""
    ids = pa.concat_arrays([ids])  # a slice's buffers are those of the whole
    offsets, data = ids.buffers()[1:]
    begin = np.frombuffer(offsets, np.int64)[ids.offset : ids.offset + len(ids) + 1]
    text = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    return {f"{name}_starts": begin - begin[0], f"{name}_text": text[begin[0] : begin[-1]]}


def _unpacked(name: str, arrays: dict[str, NDArray[Any]]) -> pa.Array:
    """The strings again, without copying them."""
    starts, text = arrays[f"{name}_starts"], arrays[f"{name}_text"]
    return pa.LargeStringArray.from_buffers(len(starts) - 1, pa.py_buffer(starts), pa.py_buffer(text))
