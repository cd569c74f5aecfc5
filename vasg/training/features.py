"""Image features as the decoder and the encoder see them: memory-mapped or on the GPU, scaled, by product number."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vasg.features.components import fitted_products

_CHUNK = 1024  # products measured at a time

Doubles = NDArray[np.float64]


class Features:
    """Features of all products on this host, scaled so that the mean square of an element is 1 over warm products.

    The scale, ``mean`` [I], ``variance`` (mean ||f - mean||^2, the loss of always predicting the mean) and ``deviation`` [I]
    come from warm products alone: nothing of a cold product enters what is fitted.
    """

    def __init__(self, path: str, has_path: str, warm: int, device: torch.device) -> None:
        self._values = np.load(path, mmap_mode="r")
        self._on_gpu = _on_gpu(self._values, device)
        has = np.load(has_path)
        self._has, self.device = torch.from_numpy(has).to(device), device
        self.dim = int(self._values.shape[1])
        self.scale, mean, deviation, self.positive = _measured(self._values, fitted_products(has, warm))
        self.variance = max(float(np.square(deviation).sum()), 1e-6)
        self.mean, self.deviation = (torch.from_numpy(part).float().to(device) for part in (mean, deviation))

    @property
    def resident(self) -> bool:
        """Whether they are in the memory of a GPU."""
        return self._on_gpu is not None

    def has(self, product: Tensor) -> Tensor:
        """[n] bool: whether the products have a picture."""
        return self._has[product]

    def of(self, product: Tensor) -> Tensor:
        """[n, I] float32 scaled features of products that have one."""
        if self._on_gpu is not None:
            return self._on_gpu[product].float() * self.scale
        rows = self._values[product.cpu().numpy()]
        return torch.from_numpy(rows).to(self.device).float() * self.scale


def _measured(values: NDArray[Any], fitted: NDArray[np.int64]) -> tuple[float, Doubles, Doubles, bool]:
    """(scale, ``mean``, ``deviation``, whether no feature is negative) of the rows ``fitted`` of ``values`` [P, I]."""
    if not len(fitted):
        return 1.0, np.zeros(values.shape[1]), np.ones(values.shape[1]), True
    sums, squares, least = np.zeros(values.shape[1]), np.zeros(values.shape[1]), 0.0
    for begin in range(0, len(fitted), _CHUNK):
        rows = values[fitted[begin : begin + _CHUNK]].astype(np.float64)
        sums += rows.sum(0)
        squares += np.square(rows).sum(0)
        least = min(least, float(rows.min()))
    scale = 1.0 / max(float(np.sqrt((squares / len(fitted)).mean())), 1e-12)
    mean = sums / len(fitted)
    deviation = np.sqrt(np.maximum(squares / len(fitted) - np.square(mean), 0.0))
    return scale, scale * mean, scale * deviation, least >= 0


def _on_gpu(values: NDArray[Any], device: torch.device) -> Tensor | None:
    """All of them in the memory of a GPU where they take no more than half of what is free, otherwise None."""
    if device.type != "cuda" or values.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
        return None
    return torch.from_numpy(np.array(values)).to(device)
