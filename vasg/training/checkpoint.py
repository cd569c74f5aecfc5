"""Checkpoints of a training: each worker saves its share, and a checkpoint counts once every share is on disk."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from vasg.errors import DataError
from vasg.failpoints import failpoint
from vasg.files import write_atomically
from vasg.training.workers import Workers

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
    workers.wait()
    if workers.index == 0:
        text = json.dumps({"step": step, "workers": workers.size}).encode()
        write_atomically(target / _COMPLETE, lambda path: path.write_bytes(text))
        failpoint("checkpoint-complete")
        for other in directory.glob("step-*"):
            if other != target:
                shutil.rmtree(other)


def load(directory: Path, device: torch.device) -> tuple[list[dict[str, Any]], dict[str, Any]] | None:
    """Shares of all workers and the common part of the last complete checkpoint; None when there is none.

    Raises DataError when it is damaged, or holds anything but tensors and plain values.
    """
    complete = sorted(directory.glob(f"step-*/{_COMPLETE}"))
    if not complete:
        return None
    size = json.loads(complete[-1].read_text())["workers"]
    folder = complete[-1].parent
    try:  # weights_only: a checkpoint is data, nothing in it may run
        shares = [torch.load(folder / f"share-{k}.pt", map_location="cpu", weights_only=True) for k in range(size)]
        return shares, torch.load(folder / "common.pt", map_location=device, weights_only=True)
    except Exception as error:  # torch raises many types for a file that is not what it should be
        raise DataError(
            f"checkpoint {folder} cannot be read ({type(error).__name__}); remove it to train from the start"
        ) from error
