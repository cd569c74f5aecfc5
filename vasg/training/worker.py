"""What every worker does: stage 1 over the walks, stage 2 over the pictures, then its part of the table embeddings."""

import ctypes
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vasg.config import Train
from vasg.errors import ConfigurationError
from vasg.machine.cores import cores
from vasg.signals import held_back
from vasg.training import checkpoint, collapse
from vasg.training.blend import blended_terms, choose
from vasg.training.features import Features
from vasg.training.mapping import Mapping
from vasg.training.model import Vasg
from vasg.training.plan import Log, Plan
from vasg.training.publish import write_blend, write_pairwise, write_paper, write_skipgram
from vasg.training.terms import popularity, trained
from vasg.training.walk_reader import batches, steps_per_epoch
from vasg.training.without_walks import PAIRWISE, learn_without_walks, pairwise_log
from vasg.training.workers import Workers

_REPORT_SECONDS = 10.0
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_SQUARES_KEPT = 0.97  # of the scores' squares; with less, lists may gain by more dimensions
_MEMORY_KEPT = 1 << 28  # bytes of a tensor whose memory is used again


def train(workers: Workers, plan: Plan) -> Log:
    """Train and write the embeddings; returns the rows of training_log. All workers run this with the same plan."""
    device = choose_device(plan.config.train.device, workers)
    torch.set_num_threads(max(1, cores() // workers.local_size))
    # products of matrices in bfloat16 (CPU) or TF32, summed in float32: decoder and encoder take half the time
    torch.set_float32_matmul_precision("medium")
    keep_memory()
    with _learned_beside(plan, workers, device):
        features = Features(plan.features, plan.has_feature, plan.warm, device)
        if device.type == "cuda" and not features.resident:
            workers.say("train: the image features do not fit into the GPU's memory, reading them from the host's")
        model = Vasg(plan, workers, features, device)
        counts = plan.config.train.objective == "paper" or plan.may_count("skipgram")
        log = skip_gram_epochs(plan, workers, model, "skipgram") if counts else Log()
        mapping = Mapping(plan, workers, model.rows, model.decoder, features)
        log += _mapping(plan, workers, mapping) if counts else Log()
        plain, plain_log = _plain(plan, workers, features)
        log += plain_log
    log += pairwise_log(plan)
    if plan.config.train.objective == "sampled":
        log += _publish(plan, workers, model, plain, mapping)
    else:
        write_paper(plan, workers, model, mapping)
    return log + _baselines(plan, workers, plain)


def keep_memory() -> None:
    """Have glibc keep what tensors leave behind: gradients of 32 MB would come as new pages, to be zeroed, at each step."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none, and need none
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, _MEMORY_KEPT)
        mallopt(_M_TRIM_THRESHOLD, 2 * _MEMORY_KEPT)


@contextmanager
def _learned_beside(plan: Plan, workers: Workers, device: torch.device) -> Iterator[None]:
    """Ends with all terms learned that need no walks: beside what is done meanwhile where a GPU does that, on a CPU after it."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as beside:
        running = beside.submit(learn_without_walks, plan, workers, stop) if device.type == "cuda" else None
        try:
            yield
            if running is None:
                running = beside.submit(learn_without_walks, plan, workers, stop)
            running.result()
        finally:  # told to end, nobody waits for them any more
            stop.set()
    workers.barrier()


def _plain(plan: Plan, workers: Workers, features: Features) -> tuple[Vasg | None, Log]:
    """Skip-Gram without pictures, where it is needed."""
    if not (plan.may_count("plain_skipgram") or plan.is_baseline("skipgram")):
        return None, Log()
    plain = Vasg(plan, workers, features, features.device, visual=False)
    return plain, skip_gram_epochs(_plain_plan(plan), workers, plain, "plain_skipgram")


def _plain_plan(plan: Plan) -> Plan:
    """The same walks and settings, checkpoints of its own."""
    directory = Path(plan.checkpoints) / "skipgram"
    directory.mkdir(exist_ok=True)
    return replace(plan, checkpoints=str(directory))


def _publish(plan: Plan, workers: Workers, model: Vasg, plain: Vasg | None, mapping: Mapping) -> Log:
    """Weigh the terms of the score and write their sum."""
    terms, blend = blended_terms(plan, model.rows, plain.rows if plain else None, mapping)
    published = write_blend(plan, workers, model, mapping, terms, blend)
    dim, kept = plan.config.train.dim, published["kept"]
    more = f" in {dim} dimensions: try a larger train.dim" if kept < _SQUARES_KEPT else ""
    judged = "" if blend.auc is None else f"AUC on validation pairs {published['validation_auc']:.3f}; "
    workers.say(
        f"train: blend: {', '.join(f'{name} {weight:g}' for name, weight in blend.weight.items())}; "
        f"{judged}{100 * kept:.1f} % of the scores' squares kept{more}"
    )
    workers.say(f"train: {_promised(np.load(plan.expected_sales))}")
    log = [("blend", 1, name, value) for name, value in (blend.weight | published).items()]
    return log + [(name, 1, "validation_auc", blend.alone[name]) for name in PAIRWISE if name in blend.alone]


def _promised(expected: NDArray[np.float32]) -> str:
    """What was learned of sales from pictures, ``expected`` [P]."""
    least, most = expected.min(), expected.max()
    if least == most:
        return "pictures do not foretell sales: a new product counts as the mean one"
    return f"by their pictures, products sell {least:.2g} to {most:.2g} times, and new ones count as that popular"


def _baselines(plan: Plan, workers: Workers, plain: Vasg | None) -> Log:
    """Write the baselines that learn."""
    log = Log()
    write_pairwise(plan, workers)
    if plain is not None and plan.is_baseline("skipgram"):
        terms = {"skipgram": trained(plan, plain.rows), "popularity": popularity(plan, visual=False)}
        blend = None  # the paper's score is the cosine
        if plan.config.train.objective == "sampled":
            blend = choose(plan, workers, terms, {"skipgram": 1.0, "popularity": 1.0})
            log += [("plain_skipgram", 1, name, value) for name, value in (blend.weight | blend.figures()).items()]
        write_skipgram(plan, workers, plain, blend, terms)
    workers.barrier()
    return log


def choose_device(wanted: str, workers: Workers) -> torch.device:
    """The device to train on. Raises ConfigurationError when a GPU is asked for and there is none; ``auto`` says so."""
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise ConfigurationError("train.device is cuda, but this machine has no usable GPU; set it to auto or cpu")
    if wanted == "auto" and not available:
        workers.say("train: no usable GPU here, training on CPU")
    if wanted == "cpu" or not available:
        return torch.device("cpu")
    if workers.local_size > torch.cuda.device_count():
        raise ConfigurationError(
            f"{workers.local_size} training workers on a host with {torch.cuda.device_count()} GPUs: each takes one; lower "
            "train.workers, or set train.device to cpu"
        )
    torch.cuda.set_device(workers.local_index)
    return torch.device("cuda", workers.local_index)


def skip_gram_epochs(plan: Plan, workers: Workers, model: Vasg, phase: str) -> Log:
    """Stage 1: all epochs, from the last checkpoint if there is one."""
    train, seed, directory = plan.config.train, plan.config.seed, Path(plan.checkpoints)
    per_epoch = steps_per_epoch(plan.groups)
    total = per_epoch * train.epochs
    done, log = _resumed(directory, model, workers)
    if done:
        workers.say(f"train: {phase} resumed from the checkpoint after step {done:,} of {total:,}")
    progress = _Progress(phase, total, done, workers)
    last_saved = time.monotonic()
    # SIGTERM reaches several workers together with what started them, which ends them wherever they are
    end: AbstractContextManager[list[int]] = held_back() if workers.size == 1 else nullcontext([])
    with end as told_to_end:
        for epoch in range(done // per_epoch, train.epochs):
            for batch in batches(plan.groups, workers.index, workers.size, seed, epoch, done - epoch * per_epoch):
                model.step(batch, done, _learning_rate(train, done / total))
                done += 1
                progress.step(done, batch.walks.size * workers.size)
                due = time.monotonic() - last_saved > train.checkpoint_seconds
                if done % per_epoch and (told_to_end or (done % 50 == 0 and _any(workers, due))):
                    _save(directory, done, log, model, workers)
                    last_saved = time.monotonic()
                    if told_to_end:
                        return log
            figures = model.take_figures() | collapse.figures(plan, model.rows)
            log += [(phase, epoch + 1, name, value) for name, value in figures.items()]
            progress.epoch(epoch + 1, train.epochs, figures)
            _save(directory, done, log, model, workers)
            last_saved = time.monotonic()
    return log


def _resumed(directory: Path, model: Vasg, workers: Workers) -> tuple[int, Log]:
    """Steps done and their log, with the model as it was after them; none without a checkpoint."""
    saved = checkpoint.load(directory, workers, model.device)
    if saved is None:
        return 0, Log()
    share, common = saved
    model.rows.restore(share["rows"])
    model.figures.copy_(share["figures"])
    model.restore(common["model"])
    return common["done"], Log(tuple(row) for row in common["log"])


def _learning_rate(train: Train, progress: float) -> float:
    """Constant, as the paper's; ours falls linearly to a tenth: late steps average instead of wandering."""
    return train.learning_rate * (1.0 if train.objective == "paper" else 1.0 - 0.9 * progress)


def _any(workers: Workers, flag: bool) -> bool:
    """Whether the flag is set on any worker: what they do together they must decide together."""
    return bool(workers.allreduce(torch.tensor([float(flag)]), "any") > 0)


def _save(directory: Path, done: int, log: Log, model: Vasg, workers: Workers) -> None:
    share = {"rows": model.rows.state(), "figures": model.figures}
    checkpoint.save(
        directory, done, share, {"model": model.state(), "done": done, "log": [list(r) for r in log]}, workers
    )


def _mapping(plan: Plan, workers: Workers, mapping: Mapping) -> Log:
    """Stage 2: the encoder, decoder frozen, until products held out gain no more; no step without products to learn from."""
    mapping.decoder.requires_grad_(False)
    log, started = Log(), time.monotonic()
    steps = plan.config.train.mapping.steps if mapping.fitted_count else 0
    epochs = -(-steps // mapping.batches)
    for epoch in range(epochs):
        figures = mapping.epoch(epoch, min(mapping.batches, steps - epoch * mapping.batches))
        log += [("mapping", epoch + 1, name, value) for name, value in figures.items()]
        if (epoch + 1) % max(1, epochs // 4) == 0:
            text = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
            workers.say(f"train: mapping epoch {epoch + 1}/{epochs}: {text} ({time.monotonic() - started:.0f} s)")
        if mapping.has_ended:
            break
    mapping.take_best()
    return log


class _Progress:
    """Worker 0 tells, every few seconds, how far stage 1 is and how long it will take."""

    def __init__(self, phase: str, total: int, done: int, workers: Workers) -> None:
        self.phase, self.total, self.begin, self.workers = phase, total, done, workers
        self.started = self.last = time.monotonic()
        self.nodes = 0

    def step(self, done: int, nodes: int) -> None:
        self.nodes += nodes
        now = time.monotonic()
        if now - self.last > _REPORT_SECONDS:
            self.last, elapsed = now, now - self.started
            left = elapsed / (done - self.begin) * (self.total - done)
            rate = self.nodes / elapsed
            self.workers.say(
                f"train: {self.phase}: step {done:,}/{self.total:,}, {rate:,.0f} walk nodes/s, {left:.0f} s left"
            )

    def epoch(self, epoch: int, epochs: int, figures: dict[str, float]) -> None:
        shown = ("loss", "decoder_loss", "mean_cosine", "effective_rank", "popularity_correlation", "vectors_auc")
        text = ", ".join(f"{name} {figures[name]:.3f}" for name in shown if name in figures)
        self.workers.say(
            f"train: {self.phase}: epoch {epoch}/{epochs} after {time.monotonic() - self.started:.0f} s: {text}"
        )
