"""Terms of the score that need no walks: each learned by one worker on its cores, beside Skip-Gram where a GPU trains that.

vbpr and bpr are baselines, too.
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from threading import Event

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from vasg.config import Pairwise
from vasg.machine.cores import cores
from vasg.training import bpr
from vasg.training.co_purchases import co_purchases
from vasg.training.mixed_logit import mixed_logit
from vasg.training.plan import Log, Plan, save
from vasg.training.workers import Workers
from vasg.warehouse.files import write_atomically

PAIRWISE = ("vbpr", "bpr")
# in turn to one worker after another: the first is the longest
WITHOUT_WALKS = (*PAIRWISE, "co_purchases", "mixed_logit")
_CORES = 4  # that a term keeps busy: where there are more, several are learned at a time


def learn_without_walks(plan: Plan, workers: Workers, stop: Event) -> None:
    """Learn what may count or is a baseline, each by one worker, into files for all of them; what is there is kept.

    Raises CancelledError soon after ``stop`` is set.
    """
    threads = max(1, cores() // workers.local_size)
    own = [name for number, name in enumerate(WITHOUT_WALKS) if number % workers.size == workers.index]
    wanted = [name for name in own if plan.may_count(name) or plan.is_baseline(name)]
    missing = [name for name in wanted if not file_of(plan, name).exists()]
    # each limits the threads of NumPy for a while: what was, is again when all have ended, in whatever order
    with threadpool_limits(), ThreadPoolExecutor(max(1, threads // _CORES)) as pool:
        try:
            list(pool.map(partial(_learn, plan, workers, threads, stop), missing))
        finally:
            stop.set()  # when one has failed, the others need not go on


def _learn(plan: Plan, workers: Workers, threads: int, stop: Event, name: str) -> None:
    started = time.monotonic()
    how = ""
    if name in PAIRWISE:
        vectors, chosen = _pairwise(plan, name, threads, stop)
        text = json.dumps(asdict(chosen))
        write_atomically(_settings_of(plan, name), lambda path: path.write_text(text))
        how = f": {chosen.epochs} epochs with regularisation {chosen.regularisation:g}"
    else:
        vectors = _direct(plan, name, threads)
    write_atomically(file_of(plan, name), partial(save, vectors))
    workers.report(f"train: {name} learned in {time.monotonic() - started:.0f} s{how}")


def file_of(plan: Plan, name: str) -> Path:
    """The vectors [U+W+C, d] of a term that needs no walks."""
    return Path(plan.checkpoints) / f"{name}.npy"


def _settings_of(plan: Plan, name: str) -> Path:
    return file_of(plan, name).with_suffix(".json")


def pairwise_log(plan: Plan) -> Log:
    """With which settings vbpr and bpr were learned, as far as they were."""
    found = [(name, _settings_of(plan, name)) for name in PAIRWISE]
    chosen = {name: json.loads(path.read_text()) for name, path in found if path.exists()}
    return [(name, 1, key, float(value)) for name, settings in chosen.items() for key, value in settings.items()]


def _pairwise(plan: Plan, name: str, threads: int, stop: Event) -> tuple[NDArray[np.float32], Pairwise]:
    pairs, has_feature, features = np.load(plan.pairs), np.load(plan.has_feature), np.load(plan.features, mmap_mode="r")
    held_out = bpr.Validation(
        np.load(plan.validation) - [0, plan.users], np.load(plan.candidates) - plan.users, np.load(plan.known)
    )
    looks = np.zeros((plan.products, 0), np.float32)
    if name == "vbpr":
        looks = bpr.components(features, has_feature, plan.warm, plan.config.seed)
    given: Pairwise = getattr(plan.config.train, name)
    user, product, chosen = bpr.bpr(
        pairs, plan.users, plan.warm, looks, held_out, given, plan.config.seed, threads, stop
    )
    return np.concatenate([user, product]), chosen


def _direct(plan: Plan, name: str, threads: int) -> NDArray[np.float32]:
    pairs, users, warm, seed = np.load(plan.pairs), plan.users, plan.warm, plan.config.seed
    if name == "co_purchases":
        return co_purchases(pairs, users, warm, plan.products, plan.config.train.dim, seed)
    return mixed_logit(
        np.load(plan.pictures, mmap_mode="r"), np.load(plan.has_feature), pairs, users, warm, seed, threads
    )
