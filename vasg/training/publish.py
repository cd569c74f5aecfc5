"""From what was trained to the rows of the table embeddings, whose inner product is the score."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from vasg import schemas
from vasg.rows import unit
from vasg.training.blend import Blend
from vasg.training.compress import Compression, Moments, compression
from vasg.training.mapping import Mapping, cold_products
from vasg.training.model import Vasg
from vasg.training.plan import Plan
from vasg.training.terms import Floats, Vectors, skipgram
from vasg.training.validation import Sample
from vasg.training.without_walks import PAIRWISE, file_of
from vasg.training.workers import Workers

_CHUNK = 65_536


def write_paper(plan: Plan, workers: Workers, model: Vasg, mapping: Mapping) -> None:
    """This worker's rows for objective "paper": of length 1, so that the score is the cosine (section 4.2)."""
    nodes = _own_nodes(plan, workers, model, mapping)
    vectors = skipgram(plan, model.rows, mapping)(nodes)
    _write(plan, workers, nodes, unit(vectors))


def write_blend(
    plan: Plan, workers: Workers, model: Vasg, mapping: Mapping, terms: dict[str, Vectors], blend: Blend
) -> dict[str, float]:
    """This worker's rows for objective "sampled": all terms in D dimensions, and a bias that users meet with 1.

    Returns "kept", the share of the squares of the scores that D dimensions keep, and where there are validation pairs
    "validation_auc", that of these rows, on how many "validation_pairs".
    """
    nodes = _own_nodes(plan, workers, model, mapping)
    factors = blend.factors()
    popularity = factors.pop("popularity", 0.0)
    bias = popularity * terms["popularity"](nodes)
    # on all workers or on none, who fetch them together; the other terms lie in files
    fetched = {name: terms[name](nodes) for name in ("skipgram", "plain_skipgram") if name in factors}

    def chunks() -> Iterator[tuple[slice, Floats]]:
        for begin in range(0, max(1, len(nodes)), _CHUNK):  # one where there is no node: how wide they are
            part = slice(begin, begin + _CHUNK)
            columns = {name: fetched[name][part] if name in fetched else terms[name](nodes[part]) for name in factors}
            yield part, _stacked(nodes[part] < plan.users, columns, factors)

    maps = _compression(workers, ((nodes[part] < plan.users, rows) for part, rows in chunks()), plan.config.train.dim)
    vectors = np.empty((len(nodes), plan.config.train.dim + 1), np.float32)
    for part, stacked in chunks():
        vectors[part] = _compressed(maps, nodes[part] < plan.users, stacked, bias[part])
    _write(plan, workers, nodes, vectors)

    def published(some: NDArray[np.int64]) -> Floats:
        columns = {name: terms[name](some) for name in factors}
        stacked = _stacked(some < plan.users, columns, factors)
        return _compressed(maps, some < plan.users, stacked, popularity * terms["popularity"](some))

    sample = Sample(plan, workers)
    if not sample:
        return {"kept": maps.kept}
    auc = sample.auc(sample.scores(published))
    return {"kept": maps.kept, "validation_auc": auc, "validation_pairs": len(sample)}


def _stacked(is_user: NDArray[np.bool_], columns: dict[str, Floats], factors: dict[str, float]) -> Floats:
    """[n, t] the terms' vectors side by side, with what a term's scores are multiplied by in those of users."""
    stacked: Floats = np.hstack([np.zeros((len(is_user), 0), np.float32), *columns.values()])
    scale = np.repeat([factors[name] for name in columns], [c.shape[1] for c in columns.values()])
    stacked[is_user] *= scale.astype(np.float32)
    return stacked


def _compressed(maps: Compression, is_user: NDArray[np.bool_], stacked: Floats, bias: Floats) -> Floats:
    """[n, D + 1] rows as they are published; ``bias`` [n, 1] of products."""
    vectors = np.empty((len(is_user), maps.to_user.shape[1] + 1), np.float32)
    vectors[is_user, :-1], vectors[is_user, -1] = maps.users(stacked[is_user]), 1.0
    vectors[~is_user, :-1], shared = maps.products(stacked[~is_user])
    vectors[~is_user, -1] = bias[~is_user, 0] + shared
    return vectors


def _compression(workers: Workers, chunks: Iterator[tuple[NDArray[np.bool_], Floats]], dim: int) -> Compression:
    moments: list[Moments] = []
    for is_user, stacked in chunks:
        moments = moments or [Moments.none(stacked.shape[1]) for _ in range(2)]
        moments[0].add(stacked[is_user])
        moments[1].add(stacked[~is_user])
    size = len(moments[0].sum)
    flat = torch.from_numpy(np.concatenate([part.flat() for part in moments]))
    users, products = np.split(workers.allreduce(flat, "moments of the terms").numpy(), 2)
    return compression(Moments.of(users, size), Moments.of(products, size), dim)


def write_skipgram(plan: Plan, workers: Workers, model: Vasg, blend: Blend | None, terms: dict[str, Vectors]) -> None:
    """This worker's rows of the baseline skipgram: users and warm products; popularity as one more dimension.

    Without a ``blend`` of length 1 and of nothing else, so that the score is the cosine.
    """
    nodes = _trained_nodes(plan, model)
    if blend is None:
        vectors = unit(terms["skipgram"](nodes))
    else:
        factors, is_user = blend.factors(), (nodes < plan.users)[:, None]
        columns = [found(nodes) * np.where(is_user, factors.get(name, 0.0), 1.0) for name, found in terms.items()]
        vectors = np.hstack(columns).astype(np.float32)
    _write_baseline(plan, "skipgram", workers.index, nodes, vectors)


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
        _write_baseline(plan, name, 0, nodes, np.asarray(vectors[nodes]))


def _own_nodes(plan: Plan, workers: Workers, model: Vasg, mapping: Mapping) -> NDArray[np.int64]:
    """Nodes this worker publishes, ascending: those it trained, and the cold products with a picture that fall to it."""
    cold = cold_products(plan, workers, mapping.features, model.device).cpu().numpy() + plan.users
    return np.concatenate([_trained_nodes(plan, model), cold])


def _trained_nodes(plan: Plan, model: Vasg) -> NDArray[np.int64]:
    """This worker's nodes; one without a train pair was in no walk and is not among them."""
    own = model.rows.own.cpu().numpy()
    trained: NDArray[np.int64] = own[np.load(plan.degree, mmap_mode="r")[own] > 0]
    return trained


def _write(plan: Plan, workers: Workers, nodes: NDArray[np.int64], vectors: NDArray[Any]) -> None:
    """Vectors [n, any] of ``nodes`` [n] into this worker's file of the table embeddings."""
    columns = [
        pa.array(nodes, pa.int64()),
        pa.array(np.where(nodes < plan.users, "user", "product")),
        pa.array(np.where(nodes < plan.users + plan.warm, "trained", "mapped")),
        schemas.list_column(vectors.astype(np.float32)),
    ]
    _save("embeddings", columns, Path(plan.output) / f"part-{workers.index:05d}.parquet", False)
    workers.barrier()


def _write_baseline(plan: Plan, model: str, worker: int, nodes: NDArray[np.int64], vectors: NDArray[Any]) -> None:
    """Add vectors [n, d] of ``nodes`` [n] to the table baseline_embeddings."""
    columns = [pa.array([model] * len(nodes)), pa.array(nodes, pa.int64()), schemas.list_column(vectors)]
    _save("baseline_embeddings", columns, Path(plan.baselines) / f"part-{model}-{worker:05d}.parquet", ["model"])


def _save(table: str, columns: list[pa.Array], target: Path, dictionary: bool | list[str]) -> None:
    kind = schemas.TABLES[table].arrow()
    rows = pa.table(columns, names=kind.names).cast(kind)
    pq.write_table(rows, target, compression="zstd", use_dictionary=dictionary)
