"""Layers on what ReLU and dropout left, against dense products and torch's own gradients."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vasg.training import decoder, dropout, sparse_kernel

SIDES = st.one_of(st.integers(1, 9), st.sampled_from([63, 64, 65, 95, 96, 97, 200, 513]))


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, SIDES, st.floats(0, 1), st.integers(1, 3), st.booleans(), st.integers(0, 10**6))
def test_products_are_those_of_the_dense_matrix(
    n: int, k: int, o: int, density: float, parts: int, turned: bool, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, k)).astype(np.float32) * (generator.uniform(size=(n, k)) < density)
    b, change = (generator.normal(size=shape).astype(np.float32) for shape in ((k, o), (n, o)))
    b = np.asfortranarray(b) if turned else b
    out, back = np.full((n, o), np.nan, np.float32), np.zeros((n, k), np.float32)
    x = x.astype(np.float32)
    sparse = sparse_kernel.compressed(x)
    for part in range(parts):
        sparse_kernel.product(sparse, b, out, part, parts)
        sparse_kernel.slopes(sparse, b, change, back, part, parts)
    close = {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(out, x.astype(float) @ b, **close)
    np.testing.assert_allclose(back, (change.astype(float) @ b.T) * (x != 0), **close)


@pytest.fixture
def single_precision() -> Iterator[None]:
    """Products as float32, whatever a training in this process left behind."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("single_precision")
@pytest.mark.parametrize("threads", [1, 2])
def test_the_decoder_and_its_gradients_are_the_same_with_and_without_its_zeros(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr(decoder, "_has_bfloat16", lambda _: False)
    before, found = torch.get_num_threads(), []
    torch.set_num_threads(threads)
    try:
        for few in (decoder._FEW, -1.0):
            monkeypatch.setattr(decoder, "_FEW", few)
            found.append(_gradients())
    finally:
        torch.set_num_threads(before)
    _same(*found)


@pytest.mark.usefixtures("single_precision")
def test_rows_added_for_products_in_bfloat16_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for halves in (True, False):
        monkeypatch.setattr(decoder, "_has_bfloat16", lambda _, added=halves: added)
        monkeypatch.setattr(decoder, "_FEW", -1.0)
        found.append(_gradients())
    _same(*found)


def _gradients() -> list[torch.Tensor]:
    """A small decoder's output for 70 products, and the gradients of its input and of its layers."""
    generator = torch.Generator().manual_seed(0)
    x, feature = torch.randn(70, 10, generator=generator), torch.randn(70, 300, generator=generator)
    keys = dropout.keys(3, 5, torch.arange(70))
    layers = decoder.Layers([10, 130, 200, 300], 0.5, True, 1, "decoder")
    leaf = x.requires_grad_()
    output = layers(leaf, keys)
    (output - feature).square().sum().backward()
    return [output.detach(), *(tensor.grad for tensor in (leaf, *layers.parameters()) if tensor.grad is not None)]


def _same(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    assert len(found) == len(expected) == 8
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)
