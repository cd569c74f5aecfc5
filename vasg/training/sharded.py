"""The embedding table, its rows spread over the workers, the optimizer's state beside each row.

The row of node v lives on worker v % size. A step fetches the rows it needs from their owners and sends gradients back;
owners add up what they receive and update only those rows. Nothing of the table's size moves or is copied.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vasg import randomness
from vasg.training import rows_kernel
from vasg.training.row_optimizers import Optimizer
from vasg.training.workers import Workers

_CHUNK = 65_536
_NODE_BITS = 40


@dataclass(frozen=True)
class Fetched:
    """Rows on loan: what was asked for and the way back to the owners."""

    nodes: Tensor  # [n] distinct, grouped by owner
    index: Tensor  # for each node that was asked for, its place among them
    rows: Tensor  # [n, D + 1]
    sent: list[int]  # how many nodes belong to each owner
    asked: Tensor  # local rows others asked this worker for, grouped by who asked


class ShardedRows:
    """[nodes, dim + 1] float32 table of which this worker owns the rows of the nodes index, index + size, ...

    The first ``dim`` columns are the embedding, initially normal with standard deviation ``scale``, a function of seed,
    node and column alone. The last column is the node's bias as a context, initially zero.
    """

    def __init__(
        self, workers: Workers, nodes: int, dim: int, seed: int, scale: float, device: torch.device,
        optimizer: Callable[[Tensor], Optimizer],
    ) -> None:  # fmt: skip
        """``optimizer`` makes the one that steps these values."""
        self.workers, self.dim, self.device = workers, dim, device
        own = owned(workers, nodes)
        self.own = torch.from_numpy(own).to(device)
        # made by numpy, which asks for huge pages where torch does not
        self.values = torch.from_numpy(np.zeros((len(own), dim + 1), np.float32))
        for start in range(0, len(own), _CHUNK):
            chunk = own[start : start + _CHUNK, None]
            values = randomness.normal(seed, "initialisation", chunk, np.arange(dim)) * scale
            self.values[start : start + len(chunk), :dim] = torch.from_numpy(values)
        self.values = self.values.to(device)
        self.optimizer = optimizer(self.values)

    @property
    def embeddings(self) -> Tensor:
        """[own, D] the embeddings this worker owns."""
        return self.values[:, : self.dim]

    def fetch(self, nodes: Tensor) -> Fetched:
        """Rows of ``nodes`` of any shape, on the CPU, from wherever they live. All workers must call this together."""
        found, index, sent = distinct(nodes, self.workers.size)
        found, index = (to_device(part, self.device) for part in (found, index))
        asking, asked_by = self.workers.alltoall(found, sent, "nodes")
        asked = torch.cat(asking) // self.workers.size
        rows = self.workers.lend(self.values, asked, asked_by, sent, "rows")
        return Fetched(found, index, rows, sent, asked)

    def collect(self, fetched: Fetched, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Send ``gradient`` [n, any] back to the owners; returns (distinct local rows [m], their summed gradient [m, any])."""
        if self.workers.size == 1:  # nobody else asked: they are distinct already
            return fetched.asked, gradient
        rows, index, _ = distinct(fetched.asked, 1)
        received, _ = self.workers.alltoall(gradient, fetched.sent, "gradient")
        on_cpu, shape = gradient.device.type == "cpu", (len(rows), gradient.shape[1])
        summed, filled = gradient.new_empty(shape) if on_cpu else gradient.new_zeros(shape), 0
        for part, places in zip(received, index.split([len(part) for part in received]), strict=True):
            if on_cpu:
                filled = rows_kernel.merge(summed.numpy(), filled, places.numpy(), part.numpy())
            else:
                summed.index_add_(0, places, part)
        return rows, summed

    def update(self, rows: Tensor, gradient: Tensor, learning_rate: float) -> None:
        """One step on the distinct local ``rows`` [m] alone; ``gradient`` [m, D + 2], last the pairs of each."""
        self.optimizer.step(self.values, rows, gradient, learning_rate)

    def state(self) -> dict[str, Any]:
        """This worker's share, for a checkpoint."""
        return {"values": self.values, **self.optimizer.state}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up the share of a checkpoint."""
        for name, target in self.state().items():
            target.copy_(state[name])


def owned(workers: Workers, nodes: int) -> NDArray[np.int64]:
    """The nodes whose rows live on this worker, ascending."""
    return np.arange(workers.index, nodes, workers.size)


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """The same on ``device``; a GPU fetches it by itself while the CPU goes on."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values


def distinct(nodes: Tensor, owners: int) -> tuple[Tensor, Tensor, list[int]]:
    """The distinct ``nodes`` [n], those of owner 0 (node % owners) first, then those of owner 1, ...

    Also the place of each of ``nodes`` among them, and how many belong to each owner. On a CPU those of an owner are in
    the order in which they appear first.
    """
    if nodes.device.type == "cpu":
        flat = nodes.flatten()
        found, index = torch.empty_like(flat), torch.empty_like(flat)
        counts = rows_kernel.distinct(flat.numpy(), owners, found.numpy(), index.numpy())
        return found[: counts.sum()], index.view_as(nodes), counts.tolist()
    keys, index = torch.unique(nodes % owners << _NODE_BITS | nodes, return_inverse=True)
    counts = torch.bincount(keys >> _NODE_BITS, minlength=owners).tolist()
    return keys & (1 << _NODE_BITS) - 1, index, counts
