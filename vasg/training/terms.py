"""The terms of the published score, each the inner product of its own vectors of users and products.

============== ==========================================================================================
skipgram       trained on the walks; a cold product has what the mapping M makes of its picture
plain_skipgram the same from random vectors, without pictures
prior          what pictures say of taste in closed form, in detail: where skipgram started
smooth_prior   the same by directions alone, without clusters of pictures
mixed_logit    what pictures say by a model of how purchases come about, with the tastes of users in it
vbpr           learned from pairs of products, one bought, by pictures and purchases
bpr            the same by purchases alone
co_purchases   what purchases alone say in closed form
popularity     logarithm of the train purchases of a product, or of those its picture promises
============== ==========================================================================================

To a term that knows purchases alone, a cold product is the mean of the warm ones: by any other vector, zero too, it would
tell each user that cold products are better or worse than others.

Each is best somewhere: few purchases or many, pictures that tell all or nothing. ``vasg.training.blend`` weighs them.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from vasg.training.mapping import Mapping
from vasg.training.plan import Plan
from vasg.training.sharded import ShardedRows
from vasg.training.without_walks import WITHOUT_WALKS, file_of

_CHUNK = 65_536  # rows that are summed up at a time
Floats = NDArray[np.float32]
Vectors = Callable[[NDArray[np.int64]], Floats]  # nodes [n] ascending -> [n, d]; all workers call it together


def all_terms(plan: Plan, rows: ShardedRows, plain: ShardedRows | None, mapping: Mapping) -> dict[str, Vectors]:
    """The vectors of every term that may count. ``plain`` are the rows trained without pictures, if they were."""
    files = {name: getattr(plan, name) for name in ("prior", "smooth_prior")}
    files |= {name: str(file_of(plan, name)) for name in WITHOUT_WALKS if plan.may_count(name)}
    terms = {"skipgram": skipgram(plan, rows, mapping)} if plan.may_count("skipgram") else {}
    terms["popularity"] = popularity(plan)
    if plain is not None:
        terms["plain_skipgram"] = purchases_alone(plan, plain)
    return terms | {name: stored(file) for name, file in files.items()}


def stored(file: str) -> Vectors:
    """Rows of a file of vectors by node."""
    vectors = np.load(file, mmap_mode="r")
    return lambda nodes: np.asarray(vectors[nodes], np.float32)


def popularity(plan: Plan, visual: bool = True) -> Vectors:
    """[n, 1] one for users; for products a logarithm, so that popularity counts as a factor of the odds.

    A warm product has log(sold + expected / mean sold), a cold one log(1 + expected), where ``expected`` are the sales that
    its picture promises. If it is not ``visual``, every product promises the mean.
    """
    sold = np.load(plan.degree)[plan.users :]
    expected = np.load(plan.expected_sales) if visual else np.full(plan.products, sold.mean(), np.float32)
    log = np.concatenate([np.log(sold + expected[: plan.warm] / sold.mean()), np.log1p(expected[plan.warm :])])
    values = np.concatenate([np.ones(plan.users), log]).astype(np.float32)
    return lambda nodes: values[nodes, None]


def skipgram(plan: Plan, rows: ShardedRows, mapping: Mapping) -> Vectors:
    """[n, D] trained rows; for cold products what M makes of their pictures."""

    def vectors(nodes: NDArray[np.int64]) -> Floats:
        found, is_cold = trained(plan, rows)(nodes), nodes >= plan.users + plan.warm
        found[is_cold] = by_mapping(plan, mapping, nodes[is_cold])
        return found

    return vectors


def trained(plan: Plan, rows: ShardedRows) -> Vectors:
    """[n, D] trained rows; zero for cold products."""

    def vectors(nodes: NDArray[np.int64]) -> Floats:
        found, known = np.zeros((len(nodes), rows.dim), np.float32), nodes < plan.users + plan.warm
        found[known] = fetch(rows, nodes[known])
        return found

    return vectors


def purchases_alone(plan: Plan, rows: ShardedRows) -> Vectors:
    """[n, D] trained rows; the mean of warm products for cold ones. All workers must call this together."""
    products = rows.embeddings[int((rows.own < plan.users).sum()) :].split(_CHUNK)  # ``own`` ascends, users first
    total = torch.stack([part.sum(0, dtype=torch.float64) for part in products]).sum(0)
    mean = rows.workers.allreduce(total, "mean product").cpu().numpy() / max(plan.warm, 1)

    def vectors(nodes: NDArray[np.int64]) -> Floats:
        found = trained(plan, rows)(nodes)
        found[nodes >= plan.users + plan.warm] = mean
        return found

    return vectors


def fetch(rows: ShardedRows, nodes: NDArray[np.int64]) -> Floats:
    """[n, D] trained embeddings of ``nodes`` [n] from whichever workers own them."""
    fetched = rows.fetch(torch.from_numpy(nodes))
    values: Floats = fetched.rows[fetched.index, : rows.dim].cpu().numpy()
    return values


def by_mapping(plan: Plan, mapping: Mapping, nodes: NDArray[np.int64]) -> Floats:
    """[n, D] what M makes of the pictures of products, given by their nodes; zero without a picture."""
    product = torch.from_numpy(nodes - plan.users).to(mapping.rows.device)
    seen = mapping.features.has(product)
    found = np.zeros((len(nodes), mapping.rows.dim), np.float32)
    found[seen.cpu().numpy()] = mapping.map(product[seen]).cpu().numpy()
    return found
