"""The baselines that learn: skipgram, bpr and vbpr, trained beside the model and published as vectors of the same kind."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vasg import schemas
from vasg.training import bpr
from vasg.training.plan import Plan
from vasg.training.workers import Workers

Log = list[tuple[str, int, str, float]]  # phase, epoch, quantity, value


def train_bpr(plan: Plan, workers: Workers) -> Log:
    """Train bpr and vbpr, as far as they are configured, on worker 0; returns rows of training_log."""
    names = [name for name in ("bpr", "vbpr") if name in plan.config.train.baselines]
    if workers.index or not names:
        return []
    pairs, has_feature, features = np.load(plan.pairs), np.load(plan.has_feature), np.load(plan.features, mmap_mode="r")
    validation = bpr.Validation(
        np.load(plan.validation) - [0, plan.users], np.load(plan.candidates) - plan.users, np.load(plan.known)
    )
    log = Log()
    for name in names:
        looks = np.zeros((plan.products, 0), np.float32)
        if name == "vbpr":
            looks = bpr.components(features, has_feature, plan.warm, plan.config.seed)
        user, product, auc = bpr.bpr(pairs, plan.users, plan.warm, looks, validation, plan.config.seed)
        workers.say(f"train: {name}: AUC on validation pairs {auc:.3f}")
        log.append((name, 1, "validation_auc", auc))
        scored = np.arange(plan.products) < plan.warm
        if name == "vbpr":
            scored |= has_feature  # bpr knows nothing of a cold product
        nodes = np.concatenate([np.arange(plan.users), plan.users + np.flatnonzero(scored)])
        write(plan, name, 0, nodes, np.concatenate([user, product[scored]]))
    return log


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
