"""Shops in which products belong together and pictures tell nothing: what co-purchases are for. Plain CSV and a feature file."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vasg.demo.amazon_files import CONFIG

_USERS, _PRODUCTS, _DIM = 3_000, 3_000, 128
_GROUPS, _FAVOUR = 300, 400.0  # groups of ten; how much rather a product of an own group is bought
_SERIES, _READ, _FINISHED = 100, 6, 0.8  # series of thirty; how far one is read on, and how often each part is bought
_SETTINGS = f"""\
seed = 0
[reviews]
path = "purchases.csv"
[features]
source = "feature_file"
path = "features.b"
dim = {_DIM}
[split]
holdout_cold_fraction = 0.1
"""


def groups(folder: Path) -> None:
    """Users who buy from two groups of ten products each, mostly."""
    generator = np.random.default_rng(0)
    popularity = _popularity(_PRODUCTS, generator)
    group = np.arange(_PRODUCTS) % _GROUPS

    def bought() -> NDArray[np.int64]:
        own = np.isin(group, generator.choice(_GROUPS, 2, replace=False))
        share = popularity * np.where(own, _FAVOUR, 1.0)
        return generator.choice(_PRODUCTS, 6 + generator.poisson(4), replace=False, p=share / share.sum())

    _write(folder, (bought() for _ in range(_USERS)), generator)


def series(folder: Path) -> None:
    """Users who buy most of six neighbours in two series of thirty products each, and two products besides."""
    generator = np.random.default_rng(0)
    popularity = _popularity(_SERIES, generator)
    length = _PRODUCTS // _SERIES

    def bought() -> NDArray[np.int64]:
        first = generator.choice(_SERIES, 2, replace=False, p=popularity) * length
        first += generator.integers(0, length - _READ, 2)
        parts = (first[:, None] + np.arange(_READ))[generator.random((2, _READ)) < _FINISHED]
        return np.union1d(parts, generator.integers(0, _PRODUCTS, 2))

    _write(folder, (bought() for _ in range(_USERS)), generator)


def _popularity(count: int, generator: np.random.Generator) -> NDArray[np.float64]:
    share = np.arange(1.0, count + 1) ** -0.5
    return generator.permutation(share / share.sum())


def _write(folder: Path, users: Iterator[NDArray[np.int64]], generator: np.random.Generator) -> None:
    with (folder / "purchases.csv").open("w") as file:
        file.write("user_id,product_id\n")
        for user, products in enumerate(users):
            file.writelines(f"U{user},P{product:09d}\n" for product in products)
    with (folder / "features.b").open("wb") as file:
        for product in range(_PRODUCTS):
            noise = np.maximum(generator.normal(size=_DIM), 0)
            file.write(f"P{product:09d}".encode() + noise.astype("<f4").tobytes())
    (folder / CONFIG).write_text(_SETTINGS)
