"""What every worker does: stage 1 over the walks, stage 2 over the pictures, then its part of the table embeddings."""

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from vasg import schemas
from vasg.errors import ConfigurationError
from vasg.training import checkpoint, collapse
from vasg.training.blend import Blend, choose, looks
from vasg.training.features import Features
from vasg.training.mapping import Mapping, cold_products
from vasg.training.model import Vasg
from vasg.training.plan import Plan
from vasg.training.walk_reader import batches, steps_per_epoch
from vasg.training.workers import Workers

_REPORT_SECONDS = 10.0

Log = list[tuple[str, int, str, float]]  # phase, epoch, quantity, value


def train(workers: Workers, plan: Plan) -> Log:
    """Train and write the embeddings; returns the rows of training_log. All workers run this with the same plan."""
    device = choose_device(plan.config.train.device, workers)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers.local_size))
    torch.backends.cuda.matmul.allow_tf32 = True
    features = Features(plan.features, plan.has_feature, plan.warm, device)
    model = Vasg(plan, workers, features, device)
    log = _skip_gram(plan, workers, model)
    mapping = Mapping(plan, workers, model.rows, model.decoder, features)
    log += _mapping(plan, workers, mapping)
    blend, auc = choose(plan, model.rows, mapping)
    chosen = asdict(blend) | {"validation_auc": auc}
    log += [("blend", 1, name, value) for name, value in chosen.items()]
    _write_embeddings(plan, workers, model, mapping, blend)
    return log


def choose_device(wanted: str, workers: Workers) -> torch.device:
    """The device to train on. Raises ConfigurationError when a GPU is asked for and there is none."""
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise ConfigurationError("train.device is cuda, but this machine has no usable GPU; set it to auto or cpu")
    if wanted == "cpu" or not available:
        return torch.device("cpu")
    torch.cuda.set_device(workers.local_index)
    return torch.device("cuda", workers.local_index)


def _skip_gram(plan: Plan, workers: Workers, model: Vasg) -> Log:
    """Stage 1: all epochs, from the last checkpoint if there is one."""
    train, seed, directory = plan.config.train, plan.config.seed, Path(plan.checkpoints)
    per_epoch = steps_per_epoch(plan.groups)
    total, done, log = per_epoch * train.epochs, 0, Log()
    saved = checkpoint.load(directory, model.device)
    if saved is not None:
        shares, common = saved
        model.rows.restore([share["rows"] for share in shares])
        model.figures += sum((share["figures"] for share in shares), torch.zeros_like(model.figures)) / workers.size
        model.restore(common["model"])
        done, log = common["done"], Log(tuple(row) for row in common["log"])
        workers.say(f"train: resumed from the checkpoint after step {done:,} of {total:,}")
    progress = _Progress(total, done, workers)
    last_saved = time.monotonic()
    for epoch in range(done // per_epoch, train.epochs):
        for batch in batches(plan.groups, workers.index, workers.size, seed, epoch, done - epoch * per_epoch):
            model.step(batch, done, _learning_rate(train.learning_rate, done / total))
            done += 1
            progress.step(done, batch.walks.size * workers.size)
            due = time.monotonic() - last_saved > train.checkpoint_seconds
            if done % per_epoch and done % 50 == 0 and _any(workers, due):
                _save(directory, done, log, model, workers)
                last_saved = time.monotonic()
        figures = model.take_figures() | collapse.figures(plan, model.rows)
        log += [("skipgram", epoch + 1, name, value) for name, value in figures.items()]
        progress.epoch(epoch + 1, train.epochs, figures)
        _save(directory, done, log, model, workers)
    return log


def _learning_rate(start: float, progress: float) -> float:
    """Falls linearly to a tenth: late steps average instead of wandering."""
    return start * (1.0 - 0.9 * progress)


def _any(workers: Workers, flag: bool) -> bool:
    """Whether the flag is set on any worker: what they do together they must decide together."""
    return bool(workers.total(torch.tensor([float(flag)]), "any") > 0)


def _save(directory: Path, done: int, log: Log, model: Vasg, workers: Workers) -> None:
    share = {"rows": model.rows.state(), "figures": model.figures}
    checkpoint.save(
        directory, done, share, {"model": model.state(), "done": done, "log": [list(r) for r in log]}, workers
    )


def _mapping(plan: Plan, workers: Workers, mapping: Mapping) -> Log:
    """Stage 2: the encoder, decoder frozen."""
    mapping.decoder.requires_grad_(False)
    log, started = Log(), time.monotonic()
    epochs = -(-plan.config.train.mapping.steps // mapping.batches)
    for epoch in range(epochs):
        figures = mapping.epoch(epoch)
        log += [("mapping", epoch + 1, name, value) for name, value in figures.items()]
        if (epoch + 1) % max(1, epochs // 4) == 0:
            text = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
            workers.say(f"train: mapping epoch {epoch + 1}/{epochs}: {text} ({time.monotonic() - started:.0f} s)")
    return log


def _write_embeddings(plan: Plan, workers: Workers, model: Vasg, mapping: Mapping, blend: Blend) -> None:
    """This worker's rows of the table: those it trained, and the cold products it maps."""
    degree, train = np.load(plan.degree, mmap_mode="r"), plan.config.train
    own = model.rows.own.cpu().numpy()
    seen = degree[own] > 0  # a node without a train pair was never in a walk: it has no embedding
    cold = cold_products(plan, workers, mapping.features, model.device)
    trained, product = model.rows.values.cpu().numpy()[seen], own[seen] - plan.users
    nothing = np.zeros((len(cold), train.dim), np.float32)
    products = np.concatenate([product[product >= 0], cold.cpu().numpy()])
    prior, mapped = looks(plan, mapping, products, np.concatenate([trained[product >= 0, :-1], nothing]))
    share = 1.0 if train.objective == "paper" else blend.mapped
    vectors = published(
        train.objective, trained, product >= 0, (1 - share) * prior + share * mapped, mapping.cold_bias, blend
    )
    nodes = np.concatenate([own[seen], cold.cpu().numpy() + plan.users])
    table = embeddings_table(nodes, plan.users, plan.users + plan.warm, vectors)
    pq.write_table(
        table, Path(plan.output) / f"part-{workers.index:05d}.parquet", compression="zstd", use_dictionary=False
    )
    workers.wait()


def published(objective: str, trained: Any, is_product: Any, looks: Any, bias: float, blend: Blend) -> Any:
    """[n + c, any] vectors whose inner product is the score.

    ``trained`` [n, D + 1] are the rows of users and of w warm products, ``is_product`` [n]; ``looks`` [w + c, D] the
    vectors by pictures of these products and of c cold ones. Objective "paper": embeddings of length 1, so that the
    score is their cosine (section 4.2). Objective "sampled": the blend of picture and purchases, and the bias as one
    more dimension that users meet with 1; cold products get ``bias``, that of the mean popularity of warm ones.
    """
    count = int(is_product.sum())
    warm, cold = trained[:, :-1].copy(), looks[count:]
    if objective == "paper":
        vectors = np.concatenate([warm, cold])
        return (vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)).astype(np.float32)
    warm[is_product] = (1 - blend.picture) * warm[is_product] + blend.picture * looks[:count]
    last = np.where(is_product, blend.popularity * trained[:, -1], 1.0)
    biases = np.concatenate([last, np.full(len(cold), blend.popularity * bias)])
    return np.column_stack([np.concatenate([warm, cold]), biases]).astype(np.float32)


def embeddings_table(nodes: Any, users: int, trained: int, vectors: Any) -> pa.Table:
    """Arrow table of vectors [n, D] of ``nodes`` [n]: users are below ``users``, trained nodes below ``trained``."""
    offsets = pa.array(np.arange(0, vectors.size + 1, vectors.shape[1]), pa.int32())
    values = pa.ListArray.from_arrays(offsets, pa.array(vectors.reshape(-1)))
    columns = [
        pa.array(nodes, pa.int64()),
        pa.array(np.where(nodes < users, "user", "product")),
        pa.array(np.where(nodes < trained, "trained", "mapped")),
        values,
    ]
    return pa.table(columns, names=schemas.TABLES["embeddings"].arrow().names).cast(
        schemas.TABLES["embeddings"].arrow()
    )


class _Progress:
    """Worker 0 tells, every few seconds, how far stage 1 is and how long it will take."""

    def __init__(self, total: int, done: int, workers: Workers) -> None:
        self.total, self.begin, self.workers = total, done, workers
        self.started = self.last = time.monotonic()
        self.nodes = 0

    def step(self, done: int, nodes: int) -> None:
        self.nodes += nodes
        now = time.monotonic()
        if now - self.last > _REPORT_SECONDS:
            self.last, elapsed = now, now - self.started
            left = elapsed / (done - self.begin) * (self.total - done)
            rate = self.nodes / elapsed
            self.workers.say(f"train: step {done:,}/{self.total:,}, {rate:,.0f} walk nodes/s, {left:.0f} s left")

    def epoch(self, epoch: int, epochs: int, figures: dict[str, float]) -> None:
        shown = ("loss", "decoder_loss", "mean_cosine", "effective_rank", "popularity_correlation")
        text = ", ".join(f"{name} {figures[name]:.3f}" for name in shown)
        self.workers.say(f"train: epoch {epoch}/{epochs} after {time.monotonic() - self.started:.0f} s: {text}")
