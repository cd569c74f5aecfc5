"""Skip-Gram without pictures through the real path: Petastorm, two Horovod workers, checkpoints; beside gensim."""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from benchmarks import measure
from benchmarks.data import Shop
from benchmarks.walks import LENGTH, PER_NODE
from vasg.config import Config, Train
from vasg.config_file import from_dict
from vasg.randomness import stream_key
from vasg.training.features import Features
from vasg.training.model import Vasg
from vasg.training.plan import Plan
from vasg.training.walk_reader import FileGroup, steps_per_epoch
from vasg.training.worker import choose_device, skip_gram_epochs
from vasg.training.workers import Workers, launch
from vasg.walks import kernel, layout

_WALKS = 200_000  # of the shop's walks: enough for a rate
_LANES, RADIUS = 4, 3


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
    pairs = len(walks) * 2 * sum(LENGTH - offset for offset in range(1, RADIUS + 1)) / 1e6
    floor = "floor: the kernel alone takes 8 us a walk on one core with AVX-512"
    return [measure.compare("skip-gram", shop.name, "gensim, 2 workers", "M pairs/s", pairs, *seconds, floor)]


def sample(shop: Shop, most: int = _WALKS) -> Any:
    """[<= ``most``, LENGTH] of the shop's walks, in random order."""
    every = np.random.default_rng(0).permutation((shop.users + shop.products) * PER_NODE)
    walks = np.empty((min(most, len(every)), LENGTH), np.int32)
    kernel.walk(*shop.graph(), None, None, every[:most], PER_NODE, stream_key(0, "walk_step"), walks)
    return walks


def ours(shop: Shop, walks: Any, directory: Path) -> float:
    """Seconds of one epoch as worker 0 sees them, Horovod's start not counted (gensim's dictionary is not, either)."""
    return float(launched(_train, plan(shop, walks, directory), 2, directory))


def launched(work: Callable[[Workers, Plan], Any], given: Plan, workers: int, directory: Path) -> Any:
    """What worker 0 returns. Workers take no module from the folder they are started in: they are told where this one is."""
    os.environ["PYTHONPATH"] = str(measure.HERE.parent)
    return launch(work, given, workers, "horovodrun", lambda: None, directory / "progress")


def _train(workers: Workers, plan: Plan) -> float:
    device = choose_device("cpu", workers)
    torch.set_num_threads(1)
    model = Vasg(plan, workers, Features(plan.features, plan.has_feature, plan.warm, device), device, visual=False)
    workers.barrier()
    started = time.perf_counter()
    skip_gram_epochs(plan, workers, model, "skipgram")
    return time.perf_counter() - started


def held(workers: Workers, plan: Plan) -> tuple[float, float]:
    """MiB of a worker: its share of the model, and the peak of all it holds while it trains; means over the workers."""
    torch.set_num_threads(1)
    features = Features(plan.features, plan.has_feature, plan.warm, torch.device("cpu"))
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    before = _status("VmRSS")
    model = Vasg(plan, workers, features, torch.device("cpu"), visual=False)
    share = sum(x.numel() * x.element_size() for x in model.rows.state().values()) / 2**20
    skip_gram_epochs(plan, workers, model, "skipgram")
    both: Any = workers.allreduce(torch.tensor([share, _status("VmHWM") - before]), "held") / workers.size
    return float(both[0]), float(both[1])


def _status(name: str) -> float:
    """MiB of this process by the kernel's books."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def plan(shop: Shop, walks: Any, directory: Path, workers: int = 2) -> Plan:
    """The walks in the layout of the table, and what else Skip-Gram alone needs; for each worker the default batch."""
    train = {"workers": workers, "epochs": 1, "launcher": "horovodrun", "batch_walks": workers * Train().batch_walks}
    settings: Config = from_dict({"train": train})
    files, rows = [], len(walks) // _LANES
    for lane in range(_LANES):
        part = walks[lane * rows : (lane + 1) * rows]
        files.append(str(directory / f"walks-{lane}.parquet"))
        pq.write_table(layout.table(np.arange(rows), part), files[-1], row_group_size=rows // 4)
    group = FileGroup(tuple(files), tuple([max(1, len(walks) // 4 // settings.train.batch_walks)] * 4))
    assert steps_per_epoch([group])
    nodes = shop.users + shop.products
    degree = np.bincount(np.concatenate([shop.user, shop.product + shop.users]), minlength=nodes)
    arrays = {
        "features": np.zeros((shop.products, 8), np.float16), "has_feature": np.zeros(shop.products, bool), "degree": degree,
        "pairs": np.zeros((0, 2), np.int64), "prior": np.zeros((0, 0), np.float32),
        "smooth_prior": np.zeros((0, 0), np.float32), "pictures": np.zeros((0, 0), np.float32),
        "expected_sales": np.zeros(0, np.float32),
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
