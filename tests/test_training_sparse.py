"""Layers on what ReLU and dropout left, against dense products and torch's own gradients."""

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


@pytest.mark.parametrize("threads", [1, 2])
def test_the_decoder_and_its_gradients_are_the_same_with_and_without_its_zeros(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    x, feature = torch.randn(70, 10, generator=generator), torch.randn(70, 300, generator=generator)
    keys, layers = (
        dropout.keys(3, 5, torch.arange(70)),
        decoder.Layers([10, 130, 200, 300], 0.5, True, 1, "decoder"),
    )
    found = []
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for few in (decoder._FEW, -1.0):
            monkeypatch.setattr(decoder, "_FEW", few)
            monkeypatch.setattr(decoder, "_has_bfloat16", lambda: False)
            layers.zero_grad()
            leaf = x.clone().requires_grad_()
            (layers(leaf, keys) - feature).square().sum().backward()
            found.append([leaf.grad, *(parameter.grad.clone() for parameter in layers.parameters())])
    finally:
        torch.set_num_threads(before)
    for sparse, dense in zip(*found, strict=True):
        torch.testing.assert_close(sparse, dense, rtol=1e-4, atol=1e-3)
