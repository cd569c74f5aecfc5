"""The gradients written out by hand against automatic differentiation of the paper's sums, one pair at a time."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import logsigmoid

from vasg.training.loss import Negatives, band, batched, skip_gram


def slow_loss(
    rows: Tensor, bias: Tensor, walks: Tensor, is_product: Tensor, window: int, w1: float, negatives: Negatives | None
) -> Tensor:
    """Equation 3 pair by pair, with the shared negatives spelled out."""
    total = rows.new_zeros(())
    for number, walk in enumerate(walks.tolist()):
        for i, center in enumerate(walk):
            for j in range(max(0, i - window // 2), min(len(walk), i + window // 2 + 1)):
                if i == j:
                    continue
                loss = -logsigmoid(rows[walk[j]] @ rows[center] + bias[walk[j]])
                if negatives is not None:
                    users, products = negatives.rows[number].chunk(2)
                    drawn = products if is_product[walk[j]] else users
                    noise = torch.stack([-logsigmoid(-(rows[n] @ rows[center] + bias[n])) for n in drawn.tolist()])
                    loss = loss + negatives.weight * noise.mean()
                total = total + (w1 if is_product[center] else 1.0) * loss
    return total


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([3, 5, 7]), st.integers(2, 9), st.booleans())
def test_gradient_is_that_of_the_pairwise_loss(seed: int, window: int, length: int, sampled: bool) -> None:
    generator = np.random.default_rng(seed)
    n, dim = int(generator.integers(2, 8)), 4
    rows = torch.from_numpy(generator.normal(size=(n, dim))).requires_grad_()
    bias = torch.from_numpy(generator.normal(size=n)).requires_grad_()
    walks = torch.from_numpy(generator.integers(0, n, (3, length)))
    is_product = torch.from_numpy(generator.random(n) < 0.5)
    negatives = None
    if sampled:
        negatives = Negatives(torch.from_numpy(generator.integers(0, n, (3, 4))), 5.0)
    slow = slow_loss(rows, bias, walks, is_product, window, 0.7, negatives)
    slow.backward()
    w1 = torch.tensor(0.7, dtype=torch.float64)
    fast = batched(torch.column_stack([rows, bias]).detach(), walks, is_product, window, w1, negatives)
    assert rows.grad is not None
    assert bias.grad is not None
    expected = torch.cat([rows.grad, bias.grad[:, None]], 1)
    torch.testing.assert_close(fast.gradient[:, :-1], expected, rtol=1e-6, atol=1e-6)
    assert math.isclose(float(fast.user_loss + 0.7 * fast.product_loss), slow.item(), rel_tol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6), st.sampled_from([3, 5, 7, 9, 21]), st.integers(2, 27), st.integers(1, 40), st.integers(0, 9),
    st.sampled_from([0.1, 1.0, 20.0]),
)  # fmt: skip
def test_the_compiled_loss_is_the_batched_one(
    seed: int, window: int, length: int, dim: int, negatives: int, scale: float
) -> None:
    generator = np.random.default_rng(seed)
    n = int(generator.integers(2, 8))
    rows = torch.from_numpy(generator.normal(size=(n, dim + 1)).astype(np.float32)) * scale
    walks = torch.from_numpy(generator.integers(0, n, (3, length)))
    is_product, w1 = torch.from_numpy(generator.random(n) < 0.5), torch.tensor(0.7)
    drawn = Negatives(torch.from_numpy(generator.integers(0, n, (3, 2 * negatives))), 5.0) if negatives else None
    compiled = skip_gram(rows, walks, is_product, window, w1, drawn)
    exact = batched(rows.double(), walks, is_product, window, w1.double(), drawn)
    tolerance = {"rtol": 2e-5, "atol": 2e-5 * max(1.0, float(exact.gradient.abs().max()))}
    torch.testing.assert_close(compiled.gradient.double(), exact.gradient, **tolerance)
    for name in ("user_loss", "product_loss", "user_pairs", "product_pairs"):
        assert float(getattr(compiled, name)) == pytest.approx(float(getattr(exact, name)), rel=1e-4, abs=1e-4), name


@pytest.mark.parametrize("dim", [16, 100])
def test_the_same_bits_wherever_memory_lies(dim: int) -> None:
    generator = np.random.default_rng(0)
    rows = torch.from_numpy((0.3 * generator.normal(size=(500, dim + 1))).astype(np.float32))
    walks, drawn = (torch.from_numpy(generator.integers(0, 500, (64, width))) for width in (40, 16))
    is_product, kept, found = torch.arange(500) > 100, [], set()
    for turn in range(200):
        kept = [*kept[-20:], np.empty(int(generator.integers(1, 5000)), np.float32)]  # moves what is allocated next
        moved = torch.empty(rows.numel() + 8)[turn % 8 :][: rows.numel()].view_as(rows).copy_(rows)
        result = skip_gram(moved, walks, is_product, 7, torch.tensor(0.9), Negatives(drawn, 5.0))
        found.add((result.gradient.numpy().tobytes(), float(result.user_loss), float(result.product_loss)))
    assert len(found) == 1


@pytest.mark.parametrize("negatives", [63, 64, 65, 300])
def test_many_negatives_overflow_nothing(negatives: int) -> None:
    walks, is_product = torch.tensor([[0, 2, 1, 3]]), torch.tensor([False, False, True, True])
    drawn = Negatives(torch.arange(2 * negatives)[None] % 4, 5.0)
    rows = 0.01 * torch.arange(12.0).reshape(4, 3)
    compiled = skip_gram(rows, walks, is_product, 3, torch.tensor(0.7), drawn)
    exact = batched(rows.double(), walks, is_product, 3, torch.tensor(0.7, dtype=torch.float64), drawn)
    torch.testing.assert_close(compiled.gradient.double(), exact.gradient, rtol=1e-4, atol=1e-4)
    assert float(compiled.user_loss) == pytest.approx(float(exact.user_loss), rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # compiled, batched
def test_counts_are_those_of_the_window(dtype: torch.dtype) -> None:
    walks = torch.tensor([[0, 2, 1, 3]])
    is_product = torch.tensor([False, False, True, True])
    result = skip_gram(torch.zeros(4, 3, dtype=dtype), walks, is_product, 3, torch.tensor(1.0), None)
    assert result.gradient[:, -1].tolist() == [1, 2, 2, 1]
    assert (float(result.user_pairs), float(result.product_pairs)) == (3, 3)
    assert float(result.user_loss + result.product_loss) == pytest.approx(
        6 * math.log(2)
    )  # log 2 a pair where all is zero


def test_band_is_the_odd_full_width() -> None:
    keep = band(5, 5, torch.device("cpu"))
    assert keep[0].tolist() == [0, 1, 1, 0, 0]
    assert keep[2].tolist() == [1, 1, 0, 1, 1]
