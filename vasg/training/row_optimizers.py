"""Optimizers that touch only the rows a step used: no work and no traffic of the table's size."""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vasg.training import rows_kernel

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


class Optimizer(Protocol):
    """What steps the rows of a table; ``state`` are tensors with one row for each of its rows."""

    state: dict[str, Tensor]

    def step(self, values: Tensor, rows: Tensor, gradient: Tensor, learning_rate: float) -> None:
        """Update ``values[rows]`` in place; ``rows`` [m] are distinct, ``gradient`` [m, D + 2], last the pairs."""


class RowAdam:
    """Adam (Kingma and Ba 2015), the paper's, on the rows of a step alone; bias corrected by each row's own steps."""

    def __init__(self, values: Tensor) -> None:
        self.state = {
            "mean": torch.zeros_like(values),
            "square": torch.zeros_like(values),
            "steps": values.new_zeros(len(values)),
        }

    def step(self, values: Tensor, rows: Tensor, gradient: Tensor, learning_rate: float) -> None:
        """Update ``values[rows]`` in place; ``rows`` [m] are distinct, ``gradient`` [m, D + 1 or more]."""
        if values.device.type == "cpu":
            mean, square, steps = (self.state[name].numpy() for name in ("mean", "square", "steps"))
            rows_kernel.adam(
                values.numpy(), mean, square, steps, rows.numpy(), gradient.numpy(), np.float32(learning_rate),
                np.float32(_BETA1), np.float32(_BETA2),
            )  # fmt: skip
        else:
            self.batched(values, rows, gradient, learning_rate)

    def batched(self, values: Tensor, rows: Tensor, gradient: Tensor, learning_rate: float) -> None:
        """``step`` on all rows at once, as a GPU wants it."""
        gradient = gradient[:, : values.shape[1]]
        steps = self.state["steps"][rows] + 1
        mean = self.state["mean"][rows].lerp_(gradient, 1 - _BETA1)
        square = self.state["square"][rows].mul_(_BETA2).addcmul_(gradient, gradient, value=1 - _BETA2)
        self.state["steps"][rows], self.state["mean"][rows], self.state["square"][rows] = steps, mean, square
        scale = learning_rate / (1 - _BETA1**steps)
        root = (square / (1 - _BETA2**steps)[:, None]).sqrt_().add_(_EPSILON)
        values.index_add_(0, rows, mean.mul_(-scale[:, None]).div_(root))


class RowAdagrad:
    """Adagrad (Duchi, Hazan and Singer 2011) with one sum of squares for each embedding and one for each bias.

    One scale for a whole row keeps the gradient's direction: structure shared by many pairs grows first, while Adam's
    scale for each element lifts noise to the same size. It also needs 2 numbers a row where Adam needs 2 (D + 1).
    L2 pulls embeddings to ``prior`` [own, D] (None: zero): it adds ``pull`` [own] / 2 x pairs x ||X - prior||^2 to the loss.
    """

    def __init__(self, values: Tensor, pull: Tensor, prior: Tensor | None = None) -> None:
        self.state = {"sums": values.new_zeros(len(values), 2)}
        self._pull, self._prior = pull, prior

    def step(self, values: Tensor, rows: Tensor, gradient: Tensor, learning_rate: float) -> None:
        """Update ``values[rows]`` in place; ``rows`` [m] are distinct, ``gradient`` [m, D + 2], last the pairs."""
        if values.device.type == "cpu":
            rows_kernel.adagrad(
                values.numpy(), self.state["sums"].numpy(), rows.numpy(), gradient.numpy(), np.float32(learning_rate),
                self._pull.numpy(), None if self._prior is None else self._prior.numpy(),
            )  # fmt: skip
        else:
            self.batched(values, rows, gradient, learning_rate)

    def batched(self, values: Tensor, rows: Tensor, gradient: Tensor, learning_rate: float) -> None:
        """``step`` on all rows at once, as a GPU wants it."""
        away = values[rows, :-1] if self._prior is None else values[rows, :-1] - self._prior[rows]
        slope = torch.addcmul(gradient[:, :-2], gradient[:, -1:] * self._pull[rows, None], away)
        sums = self.state["sums"][rows] + torch.stack([slope.square().mean(1), gradient[:, -2].square()], 1)
        self.state["sums"][rows] = sums
        scale = -learning_rate / (sums.sqrt() + _EPSILON)
        values.index_add_(0, rows, torch.cat([slope * scale[:, :1], gradient[:, -2:-1] * scale[:, 1:]], 1))
