"""Our side of the benchmarks still runs: they call what is inside the package. What they measure is not looked at."""

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import decoder, measure, scoring, skipgram, training
from benchmarks.data import Shop
from vasg.demo import planted

U, W = 60, 80


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A generated shop whose products were all bought."""
    found = planted.plant(0, U, W, 900)
    products, number = np.unique(found.products, return_inverse=True)
    return Shop("tiny", found.users, number, found.styles[products], tmp_path)


def test_skip_gram(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "")  # as it was, afterwards
    assert skipgram.ours(shop, skipgram.sample(shop, 400), tmp_path) > 0


def test_training(shop: Shop) -> None:
    seconds, log = training.trained(shop, {"epochs": 1, "dim": 8})
    assert seconds > 0
    assert {"skipgram", "mapping", "blend"} <= {phase for phase, *_ in log}


def test_scoring(shop: Shop) -> None:
    generator = np.random.default_rng(0)
    users, products = (generator.normal(size=(n, 8)).astype(np.float32) for n in (shop.users, shop.products))
    assert scoring.ours(shop, users, products) > 0


def test_vbpr(shop: Shop, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.npz"
    np.savez(pairs, user=shop.user, product=shop.product, users=shop.users, warm=shop.products)
    assert measure.report([sys.executable, "-m", "benchmarks.vbpr", pairs, shop.features])["seconds"] > 0


def test_decoder(shop: Shop) -> None:
    assert decoder.run(shop, 1)[0].ours > 0
