"""From what was trained to the rows of the table embeddings, whose inner product is the score."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vasg import schemas
from vasg.training import baselines
from vasg.training.blend import Blend, looks
from vasg.training.mapping import Mapping, cold_products
from vasg.training.model import Vasg
from vasg.training.plan import Plan
from vasg.training.workers import Workers


def write_embeddings(plan: Plan, workers: Workers, model: Vasg, mapping: Mapping, blend: Blend) -> None:
    """This worker's rows of the table: those it trained, and the cold products it maps."""
    train = plan.config.train
    own, trained = _trained(plan, model)
    cold = cold_products(plan, workers, mapping.features, model.device)
    product = own - plan.users
    nothing = np.zeros((len(cold), train.dim), np.float32)
    products = np.concatenate([product[product >= 0], cold.cpu().numpy()])
    prior, mapped = looks(plan, mapping, products, np.concatenate([trained[product >= 0, :-1], nothing]))
    share = 1.0 if train.objective == "paper" else blend.mapped
    vectors = published(
        train.objective, trained, product >= 0, (1 - share) * prior + share * mapped, mapping.cold_bias, blend
    )
    nodes = np.concatenate([own, cold.cpu().numpy() + plan.users])
    table = embeddings_table(nodes, plan.users, plan.users + plan.warm, vectors)
    pq.write_table(
        table, Path(plan.output) / f"part-{workers.index:05d}.parquet", compression="zstd", use_dictionary=False
    )
    workers.wait()


def published(objective: str, trained: Any, is_product: Any, looks: Any, bias: float, blend: Blend) -> Any:
    """[n + c, any] vectors whose inner product is the score.

    ``trained`` [n, D + 1] are the rows of users and of w warm products, ``is_product`` [n]; ``looks`` [w + c, D] the
    vectors by pictures of these products and of c cold ones. Objective "paper": embeddings of length 1, so that the
    score is their cosine (section 4.2). Objective "sampled": the blend of picture and purchases, and the bias as one
    more dimension that users meet with 1; cold products get ``bias``, that of the mean popularity of warm ones.
    """
    count = int(is_product.sum())
    warm, cold = trained[:, :-1].copy(), looks[count:]
    if objective == "paper":
        vectors = np.concatenate([warm, cold])
        return (vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)).astype(np.float32)
    warm[is_product] = (1 - blend.picture) * warm[is_product] + blend.picture * looks[:count]
    last = np.where(is_product, blend.popularity * trained[:, -1], 1.0)
    biases = np.concatenate([last, np.full(len(cold), blend.popularity * bias)])
    return np.column_stack([np.concatenate([warm, cold]), biases]).astype(np.float32)


def embeddings_table(nodes: Any, users: int, trained: int, vectors: Any) -> pa.Table:
    """Arrow table of vectors [n, D] of ``nodes`` [n]: users are below ``users``, trained nodes below ``trained``."""
    columns = [
        pa.array(nodes, pa.int64()),
        pa.array(np.where(nodes < users, "user", "product")),
        pa.array(np.where(nodes < trained, "trained", "mapped")),
        schemas.list_column(vectors),
    ]
    return pa.table(columns, names=schemas.TABLES["embeddings"].arrow().names).cast(
        schemas.TABLES["embeddings"].arrow()
    )


def write_skipgram(plan: Plan, workers: Workers, model: Vasg, blend: Blend) -> None:
    """This worker's rows of the baseline skipgram: users and warm products, with the weight of popularity of ``blend``."""
    own, trained = _trained(plan, model)
    is_product = own >= plan.users
    vectors = published(plan.config.train.objective, trained, is_product, trained[is_product, :-1], 0.0, blend)
    baselines.write(plan, "skipgram", workers.index, own, vectors)


def _trained(plan: Plan, model: Vasg) -> tuple[Any, Any]:
    """Nodes [n] and rows [n, D + 1] of this worker; a node without a train pair was in no walk and has none."""
    own = model.rows.own.cpu().numpy()
    seen = np.load(plan.degree, mmap_mode="r")[own] > 0
    return own[seen], model.rows.values.cpu().numpy()[seen]
