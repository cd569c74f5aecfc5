"""Random walks: the inner loop on one core, and the whole job from tables to Parquet, beside PecanPy."""

import shutil
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import measure
from benchmarks.data import Shop, publish
from vasg.randomness import stream_key
from vasg.walks import kernel

LENGTH, PER_NODE = 40, 10
_UNIT = "M steps/s"
_FLOOR = "floor: 8 bytes read for a step whose neighbour list is in the cache, one cache miss where it is not"


def run(shop: Shop, rounds: int) -> list[measure.Result]:
    """The inner loop, the job, and the job at ten times the walks."""
    nodes = shop.users + shop.products
    steps = nodes * PER_NODE * (LENGTH - 1) / 1e6
    core = measure.alternate(
        lambda: inner_loop(shop), lambda: measure.peer("walks_pecanpy.py", shop.edges, PER_NODE, LENGTH, "core"), rounds
    )
    found = [measure.compare("walks", shop.name, "PecanPy, core, 2 threads; ours 1", _UNIT, steps, *core, _FLOOR)]
    for times, stage in ((1, "walks, job"), (10, "walks, job, ten times the walks")):
        job = measure.alternate(
            partial(whole_job, shop, times * PER_NODE),
            partial(measure.peer, "walks_pecanpy.py", shop.edges, times * PER_NODE, LENGTH, "job"),
            rounds,
        )
        found.append(measure.compare(stage, shop.name, "PecanPy, file to file", _UNIT, times * steps, *job, _FLOOR))
    return found


def inner_loop(shop: Shop) -> float:
    """Seconds of all walks on one thread, in pieces of the size of a task's row group."""
    nodes = shop.users + shop.products
    indptr, indices = shop.graph()
    stream, out = stream_key(0, "walk_step"), np.empty((16_384, LENGTH), np.int32)
    kernel.walk(indptr, indices, None, None, np.arange(64), PER_NODE, stream, out[:64])  # compiled
    started = time.perf_counter()
    for begin in range(0, nodes * PER_NODE, len(out)):
        ids = np.arange(begin, min(nodes * PER_NODE, begin + len(out)))
        kernel.walk(indptr, indices, None, None, ids, PER_NODE, stream, out[: len(ids)])
    return time.perf_counter() - started


def whole_job(shop: Shop, per_node: int) -> float:
    """Seconds from spark-submit to its exit."""
    root = Path(tempfile.mkdtemp(prefix="vasg-bench-"))
    try:
        publish(shop, root / "w")
        (root / "c.toml").write_text('[features]\nsource = "feature_file"\npath = "none.b"\n', encoding="utf-8")
        return measure.job("generate_walks", root / "c.toml", root / "w", f"walks.walks_per_node={per_node}")
    finally:
        shutil.rmtree(root)
