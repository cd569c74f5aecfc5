"""The baselines that learn, skipgram, bpr and vbpr, as they are published: vectors of the same kind as the model's."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vasg import schemas
from vasg.training.beside import PAIRWISE, file_of
from vasg.training.plan import Plan
from vasg.training.workers import Workers


def write_pairwise(plan: Plan, workers: Workers) -> None:
    """Publish bpr and vbpr, as far as they are configured, from where training left them."""
    names = [name for name in PAIRWISE if plan.is_baseline(name)]
    has_feature, has_bought = np.load(plan.has_feature), np.load(plan.degree)[: plan.users] > 0
    for name in names if workers.index == 0 else []:
        vectors = np.load(file_of(plan, name), mmap_mode="r")
        scored = np.arange(plan.products) < plan.warm
        if name == "vbpr":
            scored |= has_feature  # bpr knows nothing of a cold product
        nodes = np.concatenate([np.flatnonzero(has_bought), plan.users + np.flatnonzero(scored)])
        write(plan, name, 0, nodes, np.asarray(vectors[nodes]))


def write(plan: Plan, model: str, worker: int, nodes: NDArray[np.int64], vectors: NDArray[Any]) -> None:
    """Add vectors [n, d] of ``nodes`` [n] to the table baseline_embeddings."""
    kind = schemas.TABLES["baseline_embeddings"].arrow()
    columns = [pa.array([model] * len(nodes)), pa.array(nodes, pa.int64()), schemas.list_column(vectors)]
    target = Path(plan.baselines) / f"part-{model}-{worker:05d}.parquet"
    pq.write_table(pa.table(columns, names=kind.names).cast(kind), target, compression="zstd", use_dictionary=["model"])


def skip_gram_plan(plan: Plan) -> Plan:
    """The plan of the baseline skipgram: the same walks and settings, checkpoints of its own."""
    directory = Path(plan.checkpoints) / "skipgram"
    directory.mkdir(exist_ok=True)
    return replace(plan, checkpoints=str(directory))
