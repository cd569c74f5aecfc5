"""The decoder M^-1 and the encoder M, with dropout that does not depend on who computes it (paper, section 3.2)."""

import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from vasg import randomness
from vasg.training import dropout, sparse_kernel

_FEW = 0.4  # of a hidden layer's units are not zero, at most, where a CPU multiplies those alone
_FULL_RATE = 256  # inputs of a layer that learns at the whole rate
_ROWS = 64  # oneDNN compiles a product anew for every number of rows: with bfloat16 that takes as long as the product


class Layers(nn.Module):
    """Fully connected layers with ReLU and dropout between them.

    The decoder is ``Layers([D, 256, 512, 1024, 2048, I])``, the encoder the same in reverse. ``positive_output`` puts a
    ReLU behind the last layer too, as the paper does: right for features that are never negative, and only for those.
    """

    def __init__(self, sizes: Sequence[int], dropout: float, positive_output: bool, seed: int, name: str) -> None:
        super().__init__()
        self.linear = nn.ModuleList(nn.utils.skip_init(nn.Linear, a, b) for a, b in pairwise(sizes))
        self._inputs = sizes[:-1]
        self.dropout, self.positive_output = dropout, positive_output
        for number, layer in enumerate(self.linear):
            _initialise(layer, seed, name, number)

    def start_from(self, output: Tensor) -> None:
        """Begin with ``output`` [out] for any input: while the outputs of random weights shrink towards it, most ReLUs die."""
        last = self.linear[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.weight.zero_()
            last.bias.copy_(output)

    def groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Parameters for Adam, with smaller rates in wide layers: each weight moves by the rate, an output by inputs x rate."""
        return [
            {"params": list(layer.parameters()), "lr": learning_rate * min(1.0, _FULL_RATE / inputs)}
            for layer, inputs in zip(self.linear, self._inputs, strict=True)
        ]

    def forward(self, x: Tensor, dropout_key: Tensor | None = None) -> Tensor:
        """[n, in] -> [n, out]. ``dropout_key`` [n] (see ``dropout.keys``) switches dropout on, None off."""
        rows, more = len(x), -len(x) % _ROWS if _has_bfloat16(x.device) else 0
        if not more:
            return self._through(x, dropout_key)
        x = nn.functional.pad(x, (0, 0, 0, more))
        dropout_key = None if dropout_key is None else nn.functional.pad(dropout_key, (0, more))
        return self._through(x, dropout_key)[:rows]

    def _through(self, x: Tensor, dropout_key: Tensor | None) -> Tensor:
        last = len(self.linear) - 1
        for number, layer in enumerate(self.linear):
            x = _Sparse.apply(x, layer.weight, layer.bias) if number > 0 and _is_sparse(x) else layer(x)
            if number < last or self.positive_output:
                x = torch.relu(x)
            if number < last and dropout_key is not None and self.dropout > 0:
                x = x * dropout.mask(dropout_key + number, x.shape[1], self.dropout).to(x.dtype)
        return x


def in_bfloat16(device: torch.device) -> torch.autocast:
    """A context in which products are bfloat16, where a device multiplies in it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda" or _has_bfloat16(device))


def _is_sparse(x: Tensor) -> bool:
    """Whether the products of what is not zero are the faster ones: with bfloat16 instructions all of them are faster."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or _has_bfloat16(x.device):
        return False
    return int(x.count_nonzero()) <= _FEW * x.numel()


@cache
def _has_bfloat16(device: torch.device) -> bool:
    """Whether this is a CPU that multiplies in bfloat16."""
    found = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


class _Sparse(torch.autograd.Function):
    """A linear layer on what ReLU and dropout left: inputs that are zero get no gradient, nor could they pass it on."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """[n, in], [out, in] and [out] -> [n, out]."""
        ctx.inputs = sparse_kernel.compressed(x.detach().numpy())
        ctx.save_for_backward(x, weight)
        out = torch.empty(len(x), len(weight))
        _in_parts(sparse_kernel.product, ctx.inputs, weight.detach().numpy().T, out.numpy())
        return out.add_(bias)

    @staticmethod
    def backward(ctx: Any, change: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Gradients of input, weight and bias."""
        x, weight = ctx.saved_tensors
        slope, back, gradient = change.contiguous().numpy(), torch.zeros_like(x), torch.empty_like(weight)
        _in_parts(sparse_kernel.slopes, ctx.inputs, weight.detach().numpy().T, slope, back.numpy())
        if not ctx.needs_input_grad[1]:  # frozen
            return back, None, None
        by_unit = sparse_kernel.compressed(x.detach().t().contiguous().numpy())
        _in_parts(sparse_kernel.product, by_unit, slope, gradient.numpy().T)
        return back, gradient, change.sum(0)


def _in_parts(kernel: Callable[..., None], *arrays: Any) -> None:
    """``kernel`` on as many cores as torch uses."""
    parts = torch.get_num_threads()
    with ThreadPoolExecutor(parts) as pool:
        list(pool.map(lambda part: kernel(*arrays, part, parts), range(parts)))


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
