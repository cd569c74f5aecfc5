"""Skip-Gram without pictures through the real path: Petastorm, two Horovod workers, checkpoints; beside gensim."""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import measure
from benchmarks.data import Shop
from benchmarks.walks import LENGTH
from vasg.config import Config, from_dict
from vasg.training.features import Features
from vasg.training.model import Vasg
from vasg.training.plan import Plan
from vasg.training.walk_reader import FileGroup, steps_per_epoch
from vasg.training.worker import _skip_gram, choose_device
from vasg.training.workers import Workers, launch

_WALKS = 200_000  # of the shop's walks: enough for a rate
_LANES, _RADIUS = 4, 3


def run(shop: Shop, rounds: int) -> list[measure.Result]:
    """Pairs a second over one epoch of the same walks."""
    walks = sample(shop)
    with tempfile.TemporaryDirectory(prefix="vasg-bench-") as folder:
        np.save(Path(folder, "walks.npy"), walks)
        seconds = measure.alternate(
            lambda: ours(shop, walks, Path(tempfile.mkdtemp(dir=folder))),
            lambda: measure.peer("skipgram_gensim.py", Path(folder, "walks.npy")),
            rounds,
        )
    pairs = len(walks) * 2 * sum(LENGTH - offset for offset in range(1, _RADIUS + 1)) / 1e6
    floor = "floor: 0.5 MFLOP a walk position and its negatives, 20 us a walk on one core"
    return [measure.compare("skip-gram", shop.name, "gensim, 2 workers", "M pairs/s", pairs, *seconds, floor)]


def sample(shop: Shop) -> Any:
    """[_WALKS, LENGTH] walks over the shop's pairs, in random order."""
    generator, nodes = np.random.default_rng(0), shop.users + shop.products
    ends = np.concatenate([shop.user, shop.product + shop.users])
    others = np.concatenate([shop.product + shop.users, shop.user])[np.argsort(ends, kind="stable")]
    starts = np.concatenate(([0], np.cumsum(np.bincount(ends, minlength=nodes))))
    walks = np.empty((_WALKS, LENGTH), np.int32)
    walks[:, 0] = generator.integers(0, nodes, _WALKS)
    for t in range(1, LENGTH):
        at = walks[:, t - 1]
        walks[:, t] = others[starts[at] + (generator.random(_WALKS) * np.diff(starts)[at]).astype(np.int64)]
    return walks


def ours(shop: Shop, walks: Any, directory: Path) -> float:
    """Seconds of one epoch as worker 0 sees them, Horovod's start not counted (gensim's dictionary is not, either)."""
    return float(launch(_train, plan(shop, walks, directory), 2, "horovodrun", lambda: None, directory / "progress"))


def _train(workers: Workers, plan: Plan) -> float:
    device = choose_device("cpu", workers)
    import torch

    torch.set_num_threads(1)
    model = Vasg(plan, workers, Features(plan.features, plan.has_feature, plan.warm, device), device, visual=False)
    workers.wait()
    started = time.perf_counter()
    _skip_gram(plan, workers, model, "skipgram")
    return time.perf_counter() - started


def plan(shop: Shop, walks: Any, directory: Path) -> Plan:
    """The walks in the layout of the table, and as few other files as Skip-Gram alone needs."""
    settings: Config = from_dict({"train": {"workers": 2, "epochs": 1, "launcher": "horovodrun", "batch_walks": 512}})
    files, rows = [], len(walks) // _LANES
    for lane in range(_LANES):
        part = walks[lane * rows : (lane + 1) * rows]
        column = pa.ListArray.from_arrays(pa.array(np.arange(0, part.size + 1, LENGTH, np.int32)), part.reshape(-1))
        files.append(str(directory / f"walks-{lane}.parquet"))
        pq.write_table(pa.table({"walk_id": np.arange(rows), "walk": column}), files[-1], row_group_size=rows // 4)
    group = FileGroup(tuple(files), tuple([max(1, len(walks) // 4 // settings.train.batch_walks)] * 4))
    assert steps_per_epoch([group])
    nodes = shop.users + shop.products
    degree = np.bincount(np.concatenate([shop.user, shop.product + shop.users]), minlength=nodes)
    arrays = {
        "features": np.zeros((shop.products, 8), np.float16), "has_feature": np.zeros(shop.products, bool), "degree": degree,
        "pairs": np.zeros((0, 2), np.int64), "prior": np.zeros((nodes, settings.train.dim), np.float32),
        "validation": np.zeros((0, 2), np.int64), "candidates": np.zeros(0, np.int64), "known": np.zeros((0, 0), bool),
    }  # fmt: skip
    for name, array in arrays.items():
        np.save(directory / f"{name}.npy", array)
    paths = {name: str(directory / f"{name}.npy") for name in arrays}
    (directory / "checkpoints").mkdir()
    return Plan(
        settings, shop.users, shop.products, 0, [group], checkpoints=str(directory / "checkpoints"), output="", baselines="",
        evaluated=False, **paths,
    )  # fmt: skip
