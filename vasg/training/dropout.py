"""Dropout masks and noise of products, the same on any worker: counter-based numbers as torch and Numba compute them."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from vasg import randomness
from vasg.machine.compiled import njit

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed integer: torch has no unsigned 64-bit arithmetic


def keys(seed: int, step: int, nodes: Tensor) -> Tensor:
    """[n] int64 keys of the dropout masks of some products in one step: the same on any worker."""
    key = int(randomness.sequence_key(seed, "dropout", step))
    return _mix64(nodes * _GOLDEN + (key - 2**64 if key >= 2**63 else key))


def mask(keys: Tensor, width: int, probability: float) -> Tensor:
    """[n, width] zeros and 1 / (1 - probability); each 64-bit hash decides four units."""
    if keys.device.type != "cpu":
        return batched_mask(keys, width, probability)
    found = torch.empty(len(keys), width)
    _mask(
        keys.numpy().view(np.uint64), round(probability * 65536), np.float32(1.0 / (1.0 - probability)), found.numpy()
    )
    return found


def batched_mask(keys: Tensor, width: int, probability: float) -> Tensor:
    """``mask`` in few operations, as a GPU wants it."""
    counter = torch.arange(1, (width + 3) // 4 + 1, device=keys.device)
    bits = _mix64(keys[:, None] + counter * _GOLDEN)  # n x width/4
    units = torch.stack([(bits >> shift) & 0xFFFF for shift in (0, 16, 32, 48)], 2).flatten(1)[:, :width]
    return (units >= round(probability * 65536)).float() / (1.0 - probability)


def normal_noise(keys: Tensor, width: int) -> Tensor:
    """[n, width] standard normal numbers of some keys [n] (Box-Muller on the two halves of each hash)."""
    counter = torch.arange(1, width + 1, device=keys.device)
    bits = _mix64(keys[:, None] + counter * _GOLDEN)  # n x width
    radius = (-2.0 * torch.log1p(-(bits & 0xFFFFFF).float() / 16777216.0)).sqrt()
    return radius * torch.cos(2.0 * torch.pi / 16777216.0 * ((bits >> 24) & 0xFFFFFF).float())


@njit(nogil=True, cache=True)
def _mask(keys: Any, least: Any, scale: Any, out: Any) -> None:
    rows, width = out.shape
    bits = np.empty((width + 3) // 4, np.uint64)
    units = bits.view(np.uint16)  # in the order of their shifts, as every processor that has torch stores them
    for row in range(rows):
        for four in range(len(bits)):
            bits[four] = randomness.at_step(keys[row], np.uint64(four))
        for unit in range(width):
            out[row, unit] = scale if units[unit] >= least else np.float32(0)


def _mix64(z: Tensor) -> Tensor:
    """SplitMix64's finalizer in signed arithmetic: the same bits as ``randomness.mix64``."""
    z = (z ^ _shift(z, 30)) * -4658895280553007687  # 0xBF58476D1CE4E5B9
    z = (z ^ _shift(z, 27)) * -7723592293110705685  # 0x94D049BB133111EB
    return z ^ _shift(z, 31)


def _shift(z: Tensor, by: int) -> Tensor:
    """Logical right shift (torch's is arithmetic)."""
    return (z >> by) & ((1 << (64 - by)) - 1)
