"""The decoder M^-1 and the encoder M, with dropout that does not depend on who computes it (paper, section 3.2)."""

import zlib
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from vasg import randomness

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed integer: torch has no unsigned 64-bit arithmetic


class Layers(nn.Module):
    """Fully connected layers with ReLU and dropout between them.

    The decoder is ``Layers([D, 256, 512, 1024, 2048, I])``, the encoder the same in reverse. ``positive_output`` puts a
    ReLU behind the last layer too, as the paper does: right for features that are never negative, and only for those.
    """

    def __init__(self, sizes: Sequence[int], dropout: float, positive_output: bool, seed: int, name: str) -> None:
        super().__init__()
        self.linear = nn.ModuleList(nn.utils.skip_init(nn.Linear, a, b) for a, b in pairwise(sizes))
        self.dropout, self.positive_output = dropout, positive_output
        for number, layer in enumerate(self.linear):
            _initialise(layer, seed, name, number)

    def forward(self, x: Tensor, dropout_key: Tensor | None = None) -> Tensor:
        """[n, in] -> [n, out]. ``dropout_key`` [n] (see ``dropout_keys``) switches dropout on, None off."""
        last = len(self.linear) - 1
        for number, layer in enumerate(self.linear):
            x = layer(x)
            if number < last or self.positive_output:
                x = torch.relu(x)
            if number < last and dropout_key is not None and self.dropout > 0:
                x = x * _dropout_mask(dropout_key + number, x.shape[1], self.dropout).to(x.dtype)
        return x


def dropout_keys(seed: int, step: int, nodes: Tensor) -> Tensor:
    """[n] int64 keys of the dropout masks of some products in one step: the same on any worker."""
    key = int(randomness.sequence_key(seed, "dropout", step))
    return _mix64(nodes * _GOLDEN + (key - 2**64 if key >= 2**63 else key))


def _dropout_mask(keys: Tensor, width: int, probability: float) -> Tensor:
    """[n, width] zeros and 1 / (1 - probability); each 64-bit hash decides four units."""
    counter = torch.arange(1, (width + 3) // 4 + 1, device=keys.device)
    bits = _mix64(keys[:, None] + counter * _GOLDEN)  # n x width/4
    units = torch.stack([(bits >> shift) & 0xFFFF for shift in (0, 16, 32, 48)], 2).flatten(1)[:, :width]
    return (units >= round(probability * 65536)).float() / (1.0 - probability)


def _mix64(z: Tensor) -> Tensor:
    """SplitMix64's finalizer in signed arithmetic: the same bits as ``randomness.mix64``."""
    z = (z ^ _shift(z, 30)) * -4658895280553007687  # 0xBF58476D1CE4E5B9
    z = (z ^ _shift(z, 27)) * -7723592293110705685  # 0x94D049BB133111EB
    return z ^ _shift(z, 31)


def _shift(z: Tensor, by: int) -> Tensor:
    """Logical right shift (torch's is arithmetic)."""
    return (z >> by) & ((1 << (64 - by)) - 1)


def _initialise(layer: nn.Module, seed: int, name: str, number: int) -> None:
    """He initialisation (He et al. 2015, uniform, fan in) from the counter-based source; biases zero."""
    assert isinstance(layer, nn.Linear)
    counter = (zlib.crc32(name.encode()) << 16) + number  # numbers of its own for every layer of both networks
    rows, columns = layer.weight.shape
    values = randomness.uniform(seed, "initialisation", counter, torch.arange(rows * columns).numpy())
    bound = (6.0 / columns) ** 0.5
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy((values * 2 - 1) * bound).view(rows, columns))
        layer.bias.zero_()


def normal_noise(keys: Tensor, width: int) -> Tensor:
    """[n, width] standard normal numbers of some keys [n] (Box-Muller on the two halves of each hash)."""
    counter = torch.arange(1, width + 1, device=keys.device)
    bits = _mix64(keys[:, None] + counter * _GOLDEN)  # n x width
    radius = (-2.0 * torch.log1p(-(bits & 0xFFFFFF).float() / 16777216.0)).sqrt()
    return radius * torch.cos(2.0 * torch.pi / 16777216.0 * ((bits >> 24) & 0xFFFFFF).float())
