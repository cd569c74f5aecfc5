"""The only module that reads with Petastorm: walks from Parquet, in the same global order for any number of workers.

Walks lie in lanes (see ``vasg.walks.layout``): a *macro row* is one row group from each lane. A worker reads its share
of the lanes, each with a reader of its own; the slices of all lanes at one step make up the global batch.
"""

import warnings
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vasg import randomness

# Petastorm, from its own threads, uses pyarrow calls that 14 announces to drop; requirements.txt keeps pyarrow at 14
warnings.filterwarnings("ignore", category=FutureWarning, module="petastorm")

_POLL_SECONDS = 0.05  # seconds from one look of a reader's thread whether it is to stop to the next

Walks = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """One worker's part of a global batch."""

    walks: Walks  # [b, L] nodes
    places: NDArray[np.int64]  # [b] a number for each walk, unique in the global batch and the same on any worker


@dataclass(frozen=True)
class FileGroup:
    """The files of consecutive macro rows: one a lane, all with the same number of row groups, in lane order."""

    files: tuple[str, ...]
    steps: tuple[int, ...]  # steps that each macro row of the group is cut into


def epoch_order(groups: list[FileGroup], seed: int, epoch: int) -> list[FileGroup]:
    """The file groups in the order of an epoch."""
    return [groups[i] for i in randomness.permutation(seed, "epoch_order", epoch, len(groups))]


def steps_per_epoch(groups: list[FileGroup]) -> int:
    """Global steps of an epoch, the same for all workers."""
    return sum(sum(group.steps) for group in groups)


def batches(
    groups: list[FileGroup], worker: int, workers: int, seed: int, epoch: int, skip: int = 0
) -> Iterator[Batch]:
    """This worker's part of each global batch of an epoch, leaving out the first ``skip`` steps."""
    order = epoch_order(groups, seed, epoch)
    lanes = range(worker, len(order[0].files), workers)
    readers = [_row_groups([group.files[lane] for group in order]) for lane in lanes]
    try:
        for number, steps in enumerate(steps for group in order for steps in group.steps):
            if skip >= steps:
                skip -= steps
                for reader in readers:
                    next(reader)
                continue
            rows = [
                _shuffled(next(reader), seed, epoch, number, lane) for reader, lane in zip(readers, lanes, strict=True)
            ]
            for step in range(skip, steps):
                slices = [r[len(r) * step // steps : len(r) * (step + 1) // steps] for r in rows]
                places = [(lane << 32) + np.arange(len(part)) for lane, part in zip(lanes, slices, strict=True)]
                yield Batch(np.concatenate(slices), np.concatenate(places))
            skip = 0
    finally:
        for reader in readers:
            reader.close()


def _shuffled(rows: Walks, seed: int, epoch: int, macro_row: int, lane: int) -> Walks:
    """The walks of a row group in an order of their own each epoch."""
    counter = (epoch << 40) + (macro_row << 12) + lane
    return rows[randomness.permutation(seed, "walk_order", counter, len(rows))]


def _row_groups(files: list[str]) -> Generator[Walks, None, None]:
    """The row groups of the files, in order. One reader thread keeps the order and reads ahead of the training."""
    from petastorm import make_batch_reader
    from petastorm.workers_pool import thread_pool

    thread_pool.IO_TIMEOUT_INTERVAL_S = _POLL_SECONDS  # a thousand times a second would take the training's time
    # always the files of the manifest, never a folder: Petastorm would unpickle a _common_metadata it finds there;
    # not percent-encoded (start_type=user would become start_type%3Duser): Petastorm does not decode
    reader: Any = make_batch_reader(
        [f"file://{file}" for file in files], schema_fields=["^walk$"], reader_pool_type="thread", workers_count=1,
        shuffle_row_groups=False, num_epochs=1, results_queue_size=4,
    )  # fmt: skip
    try:
        for batch in reader:
            yield batch.walk.astype(np.int64)
    finally:
        reader.stop()
        reader.join()
