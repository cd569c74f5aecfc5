"""How fast Petastorm feeds the trainer, beside how fast the trainer consumes: both on two Horovod workers."""

import tempfile
import time
from pathlib import Path

from benchmarks import measure, skipgram
from benchmarks.data import Shop
from vasg.training.plan import Plan
from vasg.training.walk_reader import batches
from vasg.training.workers import Workers


def run(shop: Shop, rounds: int) -> list[measure.Result]:
    """Walks a second: all batches of an epoch taken from the readers, and the epoch of Skip-Gram without pictures."""
    walks = skipgram.sample(shop)
    with tempfile.TemporaryDirectory(prefix="vasg-bench-") as folder:

        def fed() -> float:
            directory = Path(tempfile.mkdtemp(dir=folder))
            plan = skipgram.plan(shop, walks, directory)
            return float(skipgram.launched(_read, plan, 2, directory))

        seconds = measure.alternate(fed, lambda: skipgram.ours(shop, walks, Path(tempfile.mkdtemp(dir=folder))), rounds)
    floor = f"floor: {walks.nbytes / 1e6:.0f} MB of node numbers"
    peer = "the trainer, which reads them, too"
    return [measure.compare("petastorm", shop.name, peer, "k walks/s", len(walks) / 1e3, *seconds, floor)]


def _read(workers: Workers, plan: Plan) -> float:
    workers.barrier()
    started = time.perf_counter()
    for _ in batches(plan.groups, workers.index, workers.size, plan.config.seed, 0):
        pass
    workers.barrier()
    return time.perf_counter() - started
