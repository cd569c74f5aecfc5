"""What an edge, a step of a walk, a pair and a score cost as the shop grows tenfold and tenfold again.

``python -m benchmarks.growth [--largest NODES] [QUANTITY ...]`` writes growth.json and draws growth.png. Everything but
the whole job runs on one core. Each size is a process of its own, so that its peak of memory is its own.
"""

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numba
import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from benchmarks import measure, scoring, skipgram, walks
from benchmarks.data import Shop
from benchmarks.walks import LENGTH, PER_NODE
from vasg.analysis.drawing import BLUE, GREY
from vasg.randomness import stream_key
from vasg.scoring.blocks import score_block
from vasg.training.features import Features
from vasg.training.model import Vasg
from vasg.training.walk_reader import batches
from vasg.training.worker import keep_memory
from vasg.training.workers import Workers
from vasg.walks import graph, kernel

_EDGES_A_NODE = 10
_PRODUCTS = 0.2  # of all nodes
_WALKS, _TRAINED = 200_000, 50_000  # walks of the inner loop, and of the training
_BATCH = 1_000_000  # edges
_READ = 10_000_000  # steps whose reads alone are timed
_NO_STYLES = np.zeros((0, 0), np.float32)  # nothing here looks at pictures
_SCORED_USERS = 1024
_FEWEST, _REPEATED = 1_000, 1_000_000  # nodes: a job that only starts and ends; up to which jobs are run seven times


def grown(nodes: int, directory: Path = Path()) -> Shop:
    """A shop with ten random edges a node; the density of purchases falls with the root of a product's rank."""
    products, generator = int(nodes * _PRODUCTS), np.random.default_rng(0)
    edges, users = nodes * _EDGES_A_NODE, nodes - products
    user = np.arange(edges, dtype=np.int64) * users // edges
    product = (generator.random(edges, np.float32) ** 2 * np.float32(products)).astype(np.int64)
    np.minimum(product, products - 1, out=product)
    product[-1] = products - 1  # so that the shop knows how many there are
    return Shop("grown", user, product, _NO_STYLES, directory)


def edges_and_steps(nodes: int) -> dict[str, tuple[float, float]]:
    """(seconds, units) of making the graph from batches of edges, and of walking on it in the inner loop."""
    shop = grown(nodes)
    users = shop.users
    train = pa.array(["train"]).take(pa.array(np.zeros(_BATCH, np.int64)))
    ones = np.ones(_BATCH, np.float32)

    def table() -> Iterator[pa.RecordBatch]:
        for begin in range(0, len(shop.user), _BATCH):
            user, product = shop.user[begin : begin + _BATCH], shop.product[begin : begin + _BATCH] + users
            columns = [user, product, ones[: len(user)], train[: len(user)]]
            yield pa.record_batch(columns, ["user", "product", "rating", "split"])

    def built() -> tuple[NDArray[np.uint32], graph.Graph]:
        degrees = graph.count_degrees(table, users, nodes, weighted=False)
        return degrees, graph.build(table, degrees, users, weighted=False)

    _compile()
    seconds = statistics.median(_timed(built)[1] for _ in range(3))
    degrees, network = built()
    starts = np.random.default_rng(1).choice(np.flatnonzero(degrees), _WALKS)
    out = np.empty((16_384, LENGTH), np.int32)
    with tempfile.TemporaryDirectory(prefix="vasg-bench-") as folder:
        for name, array in network.arrays().items():  # mapped from files, as tasks have them
            np.save(Path(folder, name), array)
        indptr, indices = (np.load(Path(folder, f"{name}.npy"), mmap_mode="r") for name in ("indptr", "indices"))

        def walk() -> None:
            for begin in range(0, _WALKS, len(out)):
                ids = starts[begin : begin + len(out)] * PER_NODE
                stream, part = stream_key(0, "walk_step"), out[: len(ids)]
                kernel.walk(indptr, indices, None, None, ids, PER_NODE, stream, part)

        walk()
        steps, reads = _WALKS * (LENGTH - 1), _random_reads(indptr, indices)
        return {"edge": (seconds, len(shop.user)), "step": (_timed(walk)[1], steps), "step's two reads": reads}


def _random_reads(indptr: NDArray[Any], indices: NDArray[Any]) -> tuple[float, int]:
    """(seconds, steps) of nothing but what steps read, from places known beforehand: the floor of a step.

    A walk comes through every directed edge equally often, and to a node as often as it has edges.
    """
    places = np.random.default_rng(2).integers(0, len(indices), 2 * _READ, np.uint32)
    nodes, addresses = indices[places[:_READ]].astype(np.uint32), places[_READ:]
    _read(indptr, indices, nodes[:1], addresses[:1])  # compiled
    return _timed(lambda: _read(indptr, indices, nodes, addresses))[1], _READ


@numba.njit
def _read(indptr: Any, indices: Any, nodes: Any, addresses: Any) -> Any:
    total = np.int64(0)
    for i in range(len(nodes)):
        total += np.int64(indptr[nodes[i]]) + np.int64(indices[addresses[i]])
    return total


def walk_job(nodes: int) -> dict[str, tuple[float, float]]:
    """(seconds by the clock, walks) of the whole job on all cores, spark-submit to exit, less that of next to no walks."""
    few, shop = grown(_FEWEST), grown(nodes)
    walks.whole_job(few, PER_NODE)  # files and machine are warm
    worked = [
        walks.whole_job(shop, PER_NODE) - walks.whole_job(few, PER_NODE) for _ in range(1 if nodes > _REPEATED else 7)
    ]
    return {"walk of a whole job": (statistics.median(worked), nodes * PER_NODE)}


def _compile() -> None:
    """Load the compiled functions, by the smallest graph there is."""
    one = pa.record_batch([[0], [1], pa.array([1.0], pa.float32()), ["train"]], ["user", "product", "rating", "split"])
    degrees = graph.count_degrees(lambda: iter([one]), 1, 2, weighted=False)
    graph.build(lambda: iter([one]), degrees, 1, weighted=False)


def pairs(nodes: int) -> dict[str, tuple[float, float]]:
    """(seconds, pairs) of Skip-Gram's steps, one worker, checkpoints left out."""
    torch.set_num_threads(1)
    keep_memory()
    with tempfile.TemporaryDirectory(prefix="vasg-bench-") as folder:
        shop = grown(nodes, Path(folder))
        sample = skipgram.sample(shop, _TRAINED)
        plan, device = skipgram.plan(shop, sample, Path(folder), 1), torch.device("cpu")
        features = Features(plan.features, plan.has_feature, plan.warm, device)
        model = Vasg(plan, Workers(1), features, device, visual=False)
        every = batches(plan.groups, 0, 1, 0, 0)
        model.step(next(every), 0, 0.1)  # compiled

        def train() -> int:
            trained = 0
            for step, batch in enumerate(every, 1):
                model.step(batch, step, 0.1)
                trained += len(batch.walks)
            return trained

        trained, seconds = _timed(train)
    return {"pair": (seconds, trained * 2 * sum(LENGTH - offset for offset in range(1, skipgram.RADIUS + 1)))}


def scores(nodes: int) -> dict[str, tuple[float, float]]:
    """(seconds, scores) of the pass over a thousand users and a product for each node."""
    generator = np.random.default_rng(0)
    user = np.repeat(np.arange(_SCORED_USERS), _EDGES_A_NODE)
    shop = Shop("grown", user, generator.integers(0, nodes, len(user)), _NO_STYLES, Path())
    users, products = (generator.standard_normal((n, scoring.DIM), np.float32) for n in (_SCORED_USERS, shop.products))
    prepared = scoring.prepare(shop, users, products)
    return {"score": (_timed(lambda: score_block(*prepared, 0, shop.users))[1], shop.users * shop.products)}


_LARGEST = 10_000_000  # nodes
QUANTITIES: dict[str, Callable[[int], dict[str, tuple[float, float]]]] = {
    "walks": edges_and_steps,
    "job": walk_job,
    "pairs": pairs,
    "scores": scores,
}


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """The result, and the seconds a core worked for it: others on the machine lengthen the clock's."""
    started = time.process_time()
    result = work()
    return result, time.process_time() - started


def main() -> None:
    """Run the quantities asked for over three sizes, the largest last; with --one, one size, reported as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--largest", type=int, default=_LARGEST, help="nodes of the largest size (default %(default)s)")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("quantities", nargs="*", metavar="QUANTITY", help=", ".join(QUANTITIES))
    arguments = parser.parse_args()
    if arguments.one:
        (name,) = arguments.quantities
        found = QUANTITIES[name](arguments.one)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps({"peak": peak, "costs": {unit: [s / n * 1e9, s] for unit, (s, n) in found.items()}}))
        return
    for name in arguments.quantities or QUANTITIES:
        rows = [_row(name, arguments.largest // shrunk) for shrunk in (100, 10, 1)]
        _save([row for group in rows for row in group])
    draw(json.loads((measure.HERE / "growth.json").read_text(encoding="utf-8")), measure.HERE / "growth.png")


def _row(name: str, nodes: int) -> list[dict[str, Any]]:
    """Nanoseconds a unit, seconds in all and peak GiB, measured in a process of its own."""
    report: Any = measure.report([sys.executable, "-m", "benchmarks.growth", "--one", nodes, name])
    rows = []
    for unit, (cost, seconds) in report["costs"].items():
        measured = {"nanoseconds": cost, "seconds": seconds, "peak_gib": report["peak"]}
        rows.append({"quantity": name, "unit": unit, "nodes": nodes} | measured | {"machine": measure.machine()})
        print(f"growth: {unit} at {nodes:,} nodes: {cost:.3g} ns, peak {report['peak']:.2f} GiB", flush=True)
    return rows


def _save(rows: list[dict[str, Any]]) -> None:
    """Into growth.json, instead of what it had of these quantities."""
    path = measure.HERE / "growth.json"
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    kept = [row for row in old if row["quantity"] not in {new["quantity"] for new in rows}]
    path.write_text(json.dumps(kept + rows, indent=1) + "\n", encoding="utf-8")


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Cost of each unit over the number of nodes, relative to the smallest size."""
    units = list(dict.fromkeys(row["unit"] for row in rows))
    figure, every = plt.subplots(1, len(units), figsize=(3 * len(units), 3), layout="constrained")
    for axes, unit in zip(np.atleast_1d(every), units, strict=True):
        mine = sorted((row["nodes"], row["nanoseconds"]) for row in rows if row["unit"] == unit)
        nodes, cost = map(np.array, zip(*mine, strict=True))
        axes.plot(nodes, cost, "o-", color=BLUE)
        axes.axhspan(0, 1.3 * cost[0], color=GREY, alpha=0.15, linewidth=0)
        axes.set(xscale="log", ylim=(0, 1.2 * max(cost.max(), 1.3 * cost[0])), xlabel="nodes", ylabel=f"ns a {unit}")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
