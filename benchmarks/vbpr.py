"""vbpr: one epoch of 20 + 100 factors and its memory, beside Cornac's; each runs in a process of its own."""

import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from threading import Event

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import measure
from benchmarks.data import Shop
from vasg.training import bpr

_EPOCHS = 3  # of ours in a round


def run(shop: Shop, rounds: int) -> list[measure.Result]:
    """Purchases a second over an epoch; ours on one core, because one worker trains it, Cornac's on two."""
    with tempfile.TemporaryDirectory(prefix="vasg-bench-") as folder:
        pairs = Path(folder, "pairs.npz")
        np.savez(pairs, user=shop.user, product=shop.product, users=shop.users, warm=shop.products)
        found = measure.alternate(
            lambda: measure.report([sys.executable, "-m", "benchmarks.vbpr", pairs, shop.features]),
            lambda: measure.peer_report(
                "vbpr_cornac.py", pairs, shop.features, 1, 0, "shipped", environment=".venv-cornac"
            ),
            rounds,
        )
    middle = [{key: statistics.median(one[key] for one in side) for key in side[0]} for side in found]
    own, other = middle
    floor = (
        f"floor: 0.2 MFLOP a triple; ours once {own['once']:.0f} s for the features' principal components; "
        f"CPU seconds an epoch {own['cpu']:.2f} and {other['cpu']:.1f}; peak GiB {own['peak']:.1f} and {other['peak']:.1f}"
    )
    mine, theirs = ([one["seconds"] for one in side] for side in found)
    work = len(shop.user) / 1e6
    return [measure.compare("vbpr", shop.name, "Cornac, 2 threads; ours 1", "M triples/s", work, mine, theirs, floor)]


def ours(pairs: Path, features: Path) -> dict[str, float]:
    """Seconds of an epoch (median) and, ``once``, of the components; ``peak`` GiB of memory of this process.

    ``cpu`` are seconds of an epoch that cores worked, which others on the machine do not lengthen.
    """
    data = np.load(pairs)
    users, warm = int(data["users"]), int(data["warm"])
    bought = np.column_stack([data["user"], data["product"]])
    bought = bought[np.lexsort((bought[:, 1], bought[:, 0]))]
    started = time.perf_counter()
    looks = bpr.components(np.load(features, mmap_mode="r"), np.ones(warm, bool), warm, 0)
    once = time.perf_counter() - started
    model, stop = bpr.start(users, looks, 0), Event()
    bpr.run_epoch(model, bought[:8], warm, 0, 0.01, 0, stop)  # compiled
    seconds, cpu = [], time.process_time()
    for epoch in range(_EPOCHS):
        started = time.perf_counter()
        bpr.run_epoch(model, bought, warm, epoch, 0.01, 0, stop)
        seconds.append(time.perf_counter() - started)
    cpu = (time.process_time() - cpu) / _EPOCHS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": statistics.median(seconds), "cpu": cpu, "once": once, "peak": peak}


if __name__ == "__main__":
    with threadpool_limits(1):
        print(json.dumps(ours(Path(sys.argv[1]), Path(sys.argv[2]))))
