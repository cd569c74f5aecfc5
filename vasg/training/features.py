"""Image features as the decoder and the encoder see them: memory-mapped or on the GPU, scaled, by product number."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_SAMPLE = 20_000  # products that the scale is measured on


class Features:
    """Features of all products on this host, scaled so that the mean square of an element is 1 over warm products.

    The scale, ``variance`` (mean ||f - mean||^2, the loss of always predicting the mean) and ``deviation`` [I] come from
    warm products alone: nothing of a cold product enters what is fitted.
    """

    def __init__(self, path: str, has_path: str, warm: int, device: torch.device) -> None:
        self._values = np.load(path, mmap_mode="r")
        self._on_gpu = _on_gpu(self._values, device)
        self._has, self.device = torch.from_numpy(np.load(has_path)).to(device), device
        self.dim = int(self._values.shape[1])
        fitted = np.flatnonzero(np.load(has_path)[:warm])
        fitted = fitted[:: max(1, len(fitted) // _SAMPLE)]
        sample = self._values[fitted].astype(np.float32)
        self.scale = (
            float(1.0 / max(np.sqrt(np.square(sample, dtype=np.float64).mean()), 1e-12)) if len(sample) else 1.0
        )
        sample *= self.scale
        self.positive = bool(sample.min(initial=0.0) >= 0)
        self.variance = float(max(sample.var(0, dtype=np.float64).sum(), 1e-6)) if len(sample) else 1.0
        self.deviation = torch.from_numpy(sample.std(0) if len(sample) else np.ones(self.dim, np.float32)).to(device)

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


def _on_gpu(values: NDArray[Any], device: torch.device) -> Tensor | None:
    """All of them in the memory of a GPU where they take no more than half of what is free, otherwise None."""
    if device.type != "cuda" or values.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
        return None
    return torch.from_numpy(np.array(values)).to(device)
