"""Random walks: the inner loop on one core, and the whole job from tables to Parquet, beside PecanPy."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import measure
from benchmarks.data import Shop, publish
from vasg.randomness import stream_key
from vasg.runner import HOME, environment
from vasg.walks import kernel

LENGTH, PER_NODE = 40, 10
_FLOOR = "floor: 8 bytes read for a step whose neighbour list is in the cache, one cache miss where it is not"


def run(shop: Shop, rounds: int) -> list[measure.Result]:
    """Both comparisons."""
    nodes = shop.users + shop.products
    steps = nodes * PER_NODE * (LENGTH - 1) / 1e6
    core = measure.alternate(
        lambda: inner_loop(shop), lambda: measure.peer("walks_pecanpy.py", shop.edges, PER_NODE, LENGTH, "core"), rounds
    )
    job = measure.alternate(
        lambda: whole_job(shop), lambda: measure.peer("walks_pecanpy.py", shop.edges, PER_NODE, LENGTH, "job"), rounds
    )
    return [
        measure.compare("walks", shop.name, "PecanPy, core, 2 threads; ours 1", "M steps/s", steps, *core, _FLOOR),
        measure.compare("walks, job", shop.name, "PecanPy, file to file", "M steps/s", steps, *job, _FLOOR),
    ]


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


def whole_job(shop: Shop) -> float:
    """Seconds from spark-submit to its exit."""
    root = Path(tempfile.mkdtemp(prefix="vasg-bench-"))
    try:
        publish(shop, root / "w")
        (root / "c.toml").write_text('[features]\nsource = "feature_file"\npath = "none.b"\n', encoding="utf-8")
        started = time.perf_counter()
        subprocess.run(
            [str(HOME / ".venv/bin/spark-submit"), "--properties-file", str(HOME / "spark_conf/local.conf"),
             str(HOME / "jobs/generate_walks.py"), "--config", str(root / "c.toml"), "--root", str(root / "w"),
             "--set", f"walks.walks_per_node={PER_NODE}"],
            env=os.environ | environment(), check=True, capture_output=True,
        )  # fmt: skip
        return time.perf_counter() - started
    finally:
        shutil.rmtree(root)
