"""Checkpoints of a training: each worker saves its share, and a checkpoint counts once every share is on disk."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from vasg.errors import DataError
from vasg.failpoints import failpoint
from vasg.training.workers import Workers
from vasg.warehouse.files import write_atomically

_COMPLETE = "complete.json"


def save(directory: Path, step: int, share: dict[str, Any], common: dict[str, Any], workers: Workers) -> None:
    """Save this worker's ``share`` and (worker 0) what is ``common``. All workers must call this together.

    Older checkpoints are removed once this one is complete.
    """
    target = directory / f"step-{step:010d}"
    target.mkdir(parents=True, exist_ok=True)
    write_atomically(target / f"share-{workers.index}.pt", lambda path: torch.save(share, path))
    failpoint("checkpoint-share-written")
    if workers.index == 0:
        write_atomically(target / "common.pt", lambda path: torch.save(common, path))
        failpoint("checkpoint-common-written")
    workers.barrier()
    if workers.index == 0:
        text = json.dumps({"step": step, "workers": workers.size}).encode()
        write_atomically(target / _COMPLETE, lambda path: path.write_bytes(text))
        failpoint("checkpoint-complete")
        for other in directory.glob("step-*"):
            if other.name < target.name:  # a later one is of a run that has overtaken this one
                shutil.rmtree(other, ignore_errors=True)  # that run may be doing so, too; the next save tries again


def load(directory: Path, workers: Workers, device: torch.device) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """This worker's share, on the CPU, and the common part of the last complete checkpoint; None when there is none.

    Raises DataError when it is damaged, of another number of workers, or holds anything but tensors and plain values.
    """
    complete = sorted(directory.glob(f"step-*/{_COMPLETE}"))
    if not complete:
        return None
    folder, mend = complete[-1].parent, "remove it to train from the start"
    try:
        size = json.loads(complete[-1].read_text())["workers"]
        if size != workers.size:
            raise DataError(f"checkpoint {folder} is of {size} workers, not {workers.size}; {mend}")
        # weights_only: a checkpoint is data, nothing in it may run; mmap: no copy of the share beside the model
        share = torch.load(folder / f"share-{workers.index}.pt", map_location="cpu", weights_only=True, mmap=True)
        return share, torch.load(folder / "common.pt", map_location=device, weights_only=True)
    except Exception as error:  # torch raises many types for a file that is not what it should be
        if isinstance(error, DataError | MemoryError | OSError) and not isinstance(error, FileNotFoundError):
            raise  # it says what is wrong, or is the machine's fault, not the checkpoint's
        raise DataError(f"checkpoint {folder} cannot be read ({type(error).__name__}); {mend}") from error
