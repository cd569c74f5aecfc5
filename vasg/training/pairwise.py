"""vbpr and bpr in a training: terms of the score and baselines at once, each trained by one worker beside Skip-Gram."""

import time
from functools import partial
from pathlib import Path
from threading import Event

import numpy as np
from numpy.typing import NDArray

from vasg.machine.cores import cores
from vasg.training import bpr
from vasg.training.plan import Plan, save
from vasg.training.workers import Workers
from vasg.warehouse.files import write_atomically

PAIRWISE = ("vbpr", "bpr")


def train_pairwise(plan: Plan, workers: Workers, stop: Event) -> None:
    """Train vbpr and bpr where needed, each by one worker, into files for all of them; what is there is kept.

    Raises CancelledError soon after ``stop`` is set.
    """
    started = time.monotonic()
    threads = max(1, cores() // workers.local_size)
    for number, name in enumerate(PAIRWISE):
        if not (plan.may_count(name) or plan.is_baseline(name)):
            continue
        target = pairwise_file(plan, name)
        if number % workers.size == workers.index and not target.exists():
            vectors = _train(plan, name == "vbpr", threads, stop)
            write_atomically(target, partial(save, vectors))
            workers.say(f"train: {name} trained after {time.monotonic() - started:.0f} s")


def pairwise_file(plan: Plan, name: str) -> Path:
    """The vectors [U+W+C, d] of vbpr or bpr."""
    return Path(plan.checkpoints) / f"{name}.npy"


def _train(plan: Plan, visual: bool, threads: int, stop: Event) -> NDArray[np.float32]:
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
