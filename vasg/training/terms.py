"""The terms of the published score, each the inner product of its own vectors of users and products.

============== ==========================================================================================
skipgram       trained on the walks; a cold product has what the mapping M makes of its picture
plain_skipgram the same from random vectors, without pictures; a cold product has none
prior          what pictures say of taste in closed form, in detail: where skipgram started
smooth_prior   the same by directions alone, without clusters of pictures
mixed_logit    what pictures say by a model of how purchases come about, with the tastes of users in it
vbpr           learned from pairs of products, one bought, by pictures and purchases
bpr            the same by purchases alone; a cold product has none
popularity     logarithm of the train purchases of a product, or of those its picture promises
============== ==========================================================================================

Each is best somewhere: few purchases or many, pictures that tell all or nothing. ``vasg.training.blend`` weighs them.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Event

import numpy as np
import torch
from numpy.typing import NDArray

from vasg.cores import cores
from vasg.files import write_atomically
from vasg.training import bpr
from vasg.training.mapping import Mapping
from vasg.training.plan import Plan, save
from vasg.training.sharded import ShardedRows
from vasg.training.workers import Workers

Floats = NDArray[np.float32]
Vectors = Callable[[NDArray[np.int64]], Floats]  # nodes [n] ascending -> [n, d]; all workers call it together
PAIRWISE = ("vbpr", "bpr")


def may_count(plan: Plan, term: str) -> bool:
    """Whether ``term`` is worth its training: the configured weights want it, or validation pairs may."""
    train = plan.config.train
    wanted: float = getattr(train.blend, term)
    return train.objective == "sampled" and (wanted > 0 or len(np.load(plan.validation)) > 0)


def is_baseline(plan: Plan, model: str) -> bool:
    """Whether ``model`` is asked for as a baseline: only an evaluation has a use for it."""
    return plan.evaluated and model in plan.config.train.baselines


def train_pairwise(plan: Plan, workers: Workers, stop: Event) -> None:
    """Train vbpr and bpr where needed, each by one worker, into files for all of them; what is there is kept.

    Raises CancelledError soon after ``stop`` is set.
    """
    started = time.monotonic()
    threads = max(1, cores() // workers.local_size)
    for number, name in enumerate(PAIRWISE):
        if not (may_count(plan, name) or is_baseline(plan, name)):
            continue
        target = pairwise_file(plan, name)
        if number % workers.size == workers.index and not target.exists():
            vectors = _train(plan, name == "vbpr", threads, stop)
            write_atomically(target, partial(save, vectors))
            workers.say(f"train: {name} trained after {time.monotonic() - started:.0f} s")


def pairwise_file(plan: Plan, name: str) -> Path:
    """The vectors [U+W+C, d] of vbpr or bpr."""
    return Path(plan.checkpoints) / f"{name}.npy"


def _train(plan: Plan, visual: bool, threads: int, stop: Event) -> Floats:
    pairs, has_feature, features = np.load(plan.pairs), np.load(plan.has_feature), np.load(plan.features, mmap_mode="r")
    held_out = bpr.Validation(
        np.load(plan.validation) - [0, plan.users], np.load(plan.candidates) - plan.users, np.load(plan.known)
    )
    looks = np.zeros((plan.products, 0), np.float32)
    if visual:
        looks = bpr.components(features, has_feature, plan.warm, plan.config.seed)
    user, product = bpr.bpr(pairs, plan.users, plan.warm, looks, held_out, plan.config.seed, threads, stop)
    if not visual:
        product[plan.warm :] = 0  # it knows nothing of a cold product
    return np.concatenate([user, product])


def all_terms(plan: Plan, rows: ShardedRows, plain: ShardedRows | None, mapping: Mapping) -> dict[str, Vectors]:
    """The vectors of every term that may count. ``plain`` are the rows trained without pictures, if they were."""
    files = {"prior": plan.prior, "smooth_prior": plan.smooth_prior, "mixed_logit": plan.mixed_logit}
    files |= {name: str(pairwise_file(plan, name)) for name in PAIRWISE if may_count(plan, name)}
    terms = {"skipgram": skipgram(plan, rows, mapping), "popularity": popularity(plan)}
    if plain is not None:
        terms["plain_skipgram"] = trained(plan, plain)
    return terms | {name: stored(file) for name, file in files.items()}


def stored(file: str) -> Vectors:
    """Rows of a file of vectors by node."""
    vectors = np.load(file, mmap_mode="r")
    return lambda nodes: np.asarray(vectors[nodes], np.float32)


def popularity(plan: Plan, visual: bool = True) -> Vectors:
    """[n, 1] one for users; of the logarithm, so that it counts as a factor of the odds.

    Every product has one purchase beforehand, or as many as its picture promises more or fewer than the mean; a cold one,
    beside it, those that its picture promises. If it is not ``visual``, every product promises the mean.
    """
    sold = np.load(plan.degree)[plan.users :]
    expected = np.load(plan.appeal) if visual else np.full(plan.products, sold.mean(), np.float32)
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
