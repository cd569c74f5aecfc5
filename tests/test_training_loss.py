"""The gradients written out by hand against automatic differentiation of the paper's sums, one pair at a time."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import logsigmoid

from vasg.training.loss import Negatives, band, skip_gram


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
    fast = skip_gram(rows.detach(), bias.detach(), walks, is_product, window, w1, negatives)
    assert rows.grad is not None
    assert bias.grad is not None
    expected = torch.cat([rows.grad, bias.grad[:, None]], 1)
    torch.testing.assert_close(fast.gradient, expected, rtol=1e-6, atol=1e-6)
    assert math.isclose(float(fast.user_loss + 0.7 * fast.product_loss), slow.item(), rel_tol=1e-6)


def test_counts_are_those_of_the_window() -> None:
    walks = torch.tensor([[0, 2, 1, 3]])
    result = skip_gram(
        torch.zeros(4, 2), torch.zeros(4), walks, torch.tensor([False, False, True, True]), 3, torch.tensor(1.0), None
    )
    assert result.center_pairs.tolist() == [1, 2, 2, 1]
    assert (float(result.user_pairs), float(result.product_pairs)) == (3, 3)
    assert float(result.user_loss + result.product_loss) == pytest.approx(
        6 * math.log(2)
    )  # log 2 a pair where all is zero


def test_band_is_the_odd_full_width() -> None:
    keep = band(5, 5, torch.device("cpu"))
    assert keep[0].tolist() == [0, 1, 1, 0, 0]
    assert keep[2].tolist() == [1, 1, 0, 1, 1]
