"""The embedding table, its rows spread over the workers, the optimizer's state beside each row.

The row of node v lives on worker v % size. A step fetches the rows it needs from their owners and sends gradients back;
owners add up what they receive and update only those rows. Nothing of the table's size moves or is copied.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vasg import randomness
from vasg.training.row_optimizers import RowAdagrad, RowAdam
from vasg.training.workers import Workers

_CHUNK = 65_536


@dataclass(frozen=True)
class Fetched:
    """Rows on loan: what was asked for and the way back to the owners."""

    nodes: Tensor  # [n] sorted, distinct
    rows: Tensor  # [n, D + 1]
    order: Tensor  # [n] nodes[order] are grouped by owner
    sent: list[int]  # of those, how many went to each owner
    asked: Tensor  # local rows others asked this worker for, grouped by who asked
    asked_by: list[int]


class ShardedRows:
    """[nodes, dim + 1] float32 table of which this worker owns the rows of the nodes index, index + size, ...

    The first ``dim`` columns are the embedding, initially normal with standard deviation ``scale``, a function of seed,
    node and column alone. The last column is the node's bias as a context, initially zero.
    """

    def __init__(
        self, workers: Workers, nodes: int, dim: int, seed: int, scale: float, adam: bool, device: torch.device
    ) -> None:
        self.workers, self.dim, self.device = workers, dim, device
        own = np.arange(workers.index, nodes, workers.size)
        self.own = torch.from_numpy(own).to(device)
        self.values = torch.zeros(len(own), dim + 1)
        for start in range(0, len(own), _CHUNK):
            chunk = own[start : start + _CHUNK, None]
            values = randomness.normal(seed, "initialisation", chunk, np.arange(dim)) * scale
            self.values[start : start + len(chunk), :dim] = torch.from_numpy(values)
        self.values = self.values.to(device)
        self.optimizer = RowAdam(self.values) if adam else RowAdagrad(self.values)

    @property
    def embeddings(self) -> Tensor:
        """[own, D] the embeddings this worker owns."""
        return self.values[:, : self.dim]

    def fetch(self, nodes: Tensor) -> Fetched:
        """Rows of the sorted, distinct ``nodes`` [n], from wherever they live. All workers must call this together."""
        size = self.workers.size
        owner = nodes % size
        order = torch.argsort(owner, stable=True)
        sent = torch.bincount(owner, minlength=size).tolist()
        asked, asked_by = self.workers.exchange(nodes[order], sent, "nodes")
        local = asked // size
        replies, _ = self.workers.exchange(self.values[local], asked_by, "rows")
        rows = torch.empty_like(replies)
        rows[order] = replies
        return Fetched(nodes, rows, order, sent, local, asked_by)

    def collect(self, fetched: Fetched, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Send ``gradient`` [n, any] back to the owners; returns (distinct local rows [m], their summed gradient [m, any])."""
        received, _ = self.workers.exchange(gradient[fetched.order], fetched.sent, "gradient")
        rows, inverse = torch.unique(fetched.asked, return_inverse=True)
        return rows, received.new_zeros(len(rows), received.shape[1]).index_add_(0, inverse, received)

    def update(self, rows: Tensor, gradient: Tensor, learning_rate: float) -> None:
        """One step on the local ``rows`` [m] alone."""
        self.optimizer.step(self.values, rows, gradient, learning_rate)

    def state(self) -> dict[str, Any]:
        """This worker's share, for a checkpoint."""
        return {"values": self.values, **self.optimizer.state}

    def restore(self, shares: list[dict[str, Any]]) -> None:
        """Take this worker's rows from the shares of a checkpoint, whatever number of workers wrote it."""
        size = len(shares)
        for name, target in self.state().items():
            for index, share in enumerate(shares):
                mine = (self.own % size == index).nonzero()[:, 0]
                target[mine] = share[name].to(self.device)[self.own[mine] // size]
