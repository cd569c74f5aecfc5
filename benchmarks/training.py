"""The whole training, from published tables to embeddings, on a GPU where there is one; it needs neither Spark nor Java."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from benchmarks import measure
from benchmarks.data import Shop, publish_pairs
from vasg import schemas
from vasg.config import Config
from vasg.config_file import from_dict
from vasg.randomness import stream_key, uniform
from vasg.training.plan import Log, make_plan
from vasg.training.worker import train
from vasg.training.workers import launch
from vasg.walks import graph, kernel, layout
from vasg.warehouse.tables import Warehouse

_ASKED_SECONDS = 60.0
_ROWS = 4096
_COLD = 0.1  # share of the products that nobody is known to have bought


def run(shop: Shop, rounds: int) -> list[measure.Result]:
    """Trainings an hour; one round, however many are asked for: it is long on a CPU."""
    seconds, _ = trained(shop, {"epochs": 1})
    return [
        measure.compare(
            "training", shop.name, f"asked on a GPU: a minute; here: {device()}", "trainings/h", 3600, [seconds],
            [_ASKED_SECONDS], "floor: the features once through the closed forms and once through the mapping",
        )
    ]  # fmt: skip


def device() -> str:
    """What trains here."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def trained(shop: Shop, train: dict[str, Any]) -> tuple[float, Log]:
    """``measured`` with this part of a configuration."""
    config = from_dict({"features": {"source": "feature_file", "path": "none.b"}, "train": train})
    with tempfile.TemporaryDirectory(prefix="vasg-bench-") as folder:
        return measured(published(shop, config, Path(folder)), config)


def measured(warehouse: Warehouse, config: Config) -> tuple[float, Log]:
    """Seconds from the published tables to the table embeddings and its baselines, what jobs/train.py does, and its log."""
    with warehouse.publication("train", "bench", "") as publication:
        output, baselines = (publication.directory(table) for table in ("embeddings", "baseline_embeddings"))
        started = time.perf_counter()
        plan = make_plan(warehouse, config, "0" * 16, output, baselines)
        print(f"train: the plan is there after {time.perf_counter() - started:.1f} s", flush=True)
        progress = Path(plan.checkpoints, "progress.log")
        log: Log = launch(train, plan, config.train.workers, "horovodrun", lambda: None, progress)
        return time.perf_counter() - started, log


def published(shop: Shop, config: Config, root: Path) -> Warehouse:
    """A warehouse with all tables that training reads, of the planted shop that the pairs of ``shop`` were drawn from."""
    warehouse = _split(shop, root)
    with _timed("image_features"), warehouse.publication("extract_features", "bench", "") as publication:
        _write_features(shop, publication.directory("image_features"))
        publication.add("image_features")
        publication.commit("", {})
    with _timed("walks"), warehouse.publication("generate_walks", "bench", "") as publication:
        walks = config.walks
        _write_walks(warehouse, config, publication.directory("walks"))
        facts = {"walk_length": walks.walk_length, "walks_per_node": walks.walks_per_node, "lanes": walks.lanes}
        publication.add("walks", facts=facts)
        publication.commit("", {})
    return warehouse


def _split(shop: Shop, root: Path) -> Warehouse:
    """The pairs with two of each user held out, one to choose on and one to test on, and every pair of some products."""
    user, product = shop.user, shop.product
    held_out = uniform(0, "holdout", np.arange(shop.products)) < _COLD
    order = np.lexsort((uniform(0, "split", user, product), held_out[product], user))
    user, product = user[order], product[order]
    place = np.arange(len(user)) - np.searchsorted(user, user)
    split = np.select(
        [held_out[product], place == 0, place == 1], ["test_cold", "test_warm", "validation_warm"], "train"
    )
    known = np.bincount(product[split == "train"], minlength=shop.products) > 0
    split = np.where(known[product] | held_out[product], split, np.char.replace(split, "warm", "cold"))
    number = np.argsort(np.argsort(~known, kind="stable"), kind="stable")
    ids = np.concatenate([np.arange(shop.users), np.argsort(number)])
    return publish_pairs(root, shop.users, user, number[product], split, ids, int((~known).sum()))


def _write_features(shop: Shop, directory: Path) -> None:
    features, schema = np.load(shop.features, mmap_mode="r"), schemas.TABLES["image_features"].arrow()
    with pq.ParquetWriter(directory / "part-00000.parquet", schema, compression="none", use_dictionary=False) as writer:
        for begin in range(0, len(features), _ROWS):
            block = features[begin : begin + _ROWS].astype(np.float32)
            ids = np.arange(begin, begin + len(block)).astype(str)
            writer.write_table(pa.table([pa.array(ids), schemas.list_column(block)], schema=schema))


def _write_walks(warehouse: Warehouse, config: Config, directory: Path) -> None:
    """As generate_walks lays them out, by the same kernel."""
    settings = config.walks

    def pairs() -> Iterator[pa.RecordBatch]:
        return warehouse.batches("interactions", ["user", "product", "split"])

    users, nodes = graph.count_nodes(lambda: warehouse.batches("nodes", ["node_type", "is_cold"]))
    degrees = graph.count_degrees(pairs, users, nodes, False)
    network, stream = graph.build(pairs, degrees, users, False), stream_key(config.seed, "walk_step")
    for kind, starts in layout.start_nodes(degrees, users).items():
        plan = layout.plan(
            len(starts) * settings.walks_per_node, settings.lanes, settings.row_group_size, config.seed, kind
        )
        folder = directory / f"start_type={kind}"
        folder.mkdir()
        for file in range(plan.files):
            with pq.ParquetWriter(folder / f"part-{file:05d}.parquet", layout.schema(network.indices.dtype)) as writer:
                for begin, end in plan.row_groups(file):
                    ids = layout.walk_ids(plan.walk_numbers(begin, end), starts, settings.walks_per_node)
                    walks: NDArray[Any] = np.empty((end - begin, settings.walk_length), network.indices.dtype)
                    kernel.walk(
                        network.indptr, network.indices, None, None, ids, settings.walks_per_node, stream, walks
                    )
                    writer.write_table(layout.table(ids, walks), row_group_size=len(ids))


@contextmanager
def _timed(what: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    print(f"bench: {what} made in {time.perf_counter() - started:.1f} s", flush=True)
