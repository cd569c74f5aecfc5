"""Optimizers that touch only the rows a step used: no work and no traffic of the table's size."""

import numpy as np
import torch
from torch import Tensor

from vasg.training import rows_kernel

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


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
    """

    def __init__(self, values: Tensor) -> None:
        self.state = {"sums": values.new_zeros(len(values), 2)}

    def step(self, values: Tensor, rows: Tensor, gradient: Tensor, learning_rate: float) -> None:
        """Update ``values[rows]`` in place; ``rows`` [m] are distinct, ``gradient`` [m, D + 1 or more]."""
        if values.device.type == "cpu":
            rate = np.float32(learning_rate)
            rows_kernel.adagrad(values.numpy(), self.state["sums"].numpy(), rows.numpy(), gradient.numpy(), rate)
            return
        gradient = gradient[:, : values.shape[1]]
        squares = torch.stack([gradient[:, :-1].square().mean(1), gradient[:, -1].square()], 1)
        sums = self.state["sums"][rows] + squares
        self.state["sums"][rows] = sums
        scale = -learning_rate / (sums.sqrt() + _EPSILON)
        values.index_add_(0, rows, torch.cat([gradient[:, :-1] * scale[:, :1], gradient[:, -1:] * scale[:, 1:]], 1))


def pull(values: Tensor, prior: Tensor, rows: Tensor, gradient: Tensor, strength: float) -> None:
    """Add to ``gradient`` [m, D + 2] of the distinct ``rows`` [m] that of strength / 2 x pairs x ||X - prior||^2.

    The pairs in which a row is the center are its last column.
    """
    if values.device.type == "cpu":
        rows_kernel.pull(gradient.numpy(), values.numpy(), prior.numpy(), rows.numpy(), np.float32(strength))
    else:
        dim = prior.shape[1]
        gradient[:, :dim] += strength * gradient[:, -1:] * (values[rows, :dim] - prior[rows])
