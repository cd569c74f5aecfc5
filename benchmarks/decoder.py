"""A training pass through the decoder, beside the same layers of torch: all units multiplied, with its own dropout.

Theirs are float32; ours are what a training takes, on a CPU that multiplies in bfloat16 those.
"""

import time
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from benchmarks import measure
from benchmarks.data import Shop
from vasg.config import Decoder
from vasg.training import dropout
from vasg.training.decoder import Layers, in_bfloat16
from vasg.training.worker import keep_memory

_PRODUCTS, _PASSES = 256, 10


def run(shop: Shop, rounds: int) -> list[measure.Result]:
    """Products a second on one core, forward and backward, at the paper's sizes and an untrained decoder's zeros."""
    torch.set_num_threads(1)
    keep_memory()  # as a worker does, for both
    settings = Decoder()
    sizes = [100, *settings.hidden, 4096]
    x, feature = torch.randn(_PRODUCTS, sizes[0]), torch.randn(_PRODUCTS, sizes[-1])
    keys = dropout.keys(0, 0, torch.arange(_PRODUCTS))
    ours = Layers(sizes, settings.dropout, False, 0, "decoder")
    parts = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU(), nn.Dropout(settings.dropout))]
    theirs = nn.Sequential(*parts[:-2])

    def decoded() -> Tensor:
        with in_bfloat16(x.device):
            found: Tensor = ours(x, keys)
            return found.float()

    seconds = measure.alternate(
        lambda: _seconds(ours, decoded, feature),
        lambda: _seconds(theirs, lambda: theirs(x), feature),
        rounds,
    )
    weights = sum(a * b for a, b in pairwise(sizes))
    floor = f"{6 * weights / 1e6:.0f} million operations a product where no unit is zero"
    work = _PRODUCTS * _PASSES / 1e3
    return [measure.compare("decoder", "paper", "torch.nn, all units", "k products/s", work, *seconds, floor)]


def _seconds(layers: nn.Module, output: Callable[[], Tensor], feature: Tensor) -> float:
    started = 0.0
    for number in range(_PASSES + 1):
        if number == 1:  # the first compiles
            started = time.perf_counter()
        layers.zero_grad(set_to_none=False)
        (output() - feature).square().sum().backward()
    return time.perf_counter() - started
