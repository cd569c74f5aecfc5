"""Pictures as few numbers: the principal components of the image features, and what else is fitted on some of many."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from vasg.machine.cores import cores
from vasg.randomness import seed_of_32_bits
from vasg.rows import unit

Floats = NDArray[np.float32]
_BATCH = 1024  # rows at a time: 16 MiB of features of 4,096
_LEAST = 1e-5  # deviation, as a share of the length of the rows, below which a component is rounding


def principal_components(
    features: NDArray[Any], has_feature: NDArray[np.bool_], warm: int, size: int, seed: int,
    prepared: Callable[[NDArray[Any]], Floats] = unit,
) -> Floats:  # fmt: skip
    """[P, k] at most ``size`` components of ``prepared`` features [P, I], those of most variance first; zero without a feature.

    Fitted on warm products alone; k is 0 where those with a feature do not differ in it.
    """
    fitted = fitted_products(has_feature, warm)
    size = min(size, features.shape[1], len(fitted) - 1)
    if size < 1:
        return np.zeros((len(features), 0), np.float32)
    rows = prepared(features[fitted])
    length, centre = np.square(rows).sum(1).mean(), rows.mean(0, dtype=np.float64).astype(np.float32)
    rows -= centre  # before PCA does: from the covariance of many rows it subtracts their mean with rounding
    if np.square(rows).sum(1).mean() <= _LEAST**2 * length:
        return np.zeros((len(features), 0), np.float32)
    pca = PCA(size, random_state=seed_of_32_bits(seed)).fit(rows)
    size = int((pca.explained_variance_ > _LEAST**2 * length).sum())
    return transformed(features, has_feature, size, lambda rows: pca.transform(prepared(rows) - centre)[:, :size])


def fitted_products(has_feature: NDArray[np.bool_], warm: int) -> NDArray[np.int64]:
    """The warm products that what is learned of pictures is learned from: evenly spread, so many as it takes."""
    return spread(np.flatnonzero(has_feature[:warm]))


def spread(products: NDArray[np.int64], most: int = 20_000) -> NDArray[np.int64]:
    """At most ``most`` of the products, evenly spread: what is fitted on features needs no more."""
    return products[:: max(1, -(-len(products) // most))]


def transformed(
    features: NDArray[Any], has_feature: NDArray[np.bool_], size: int, function: Callable[[NDArray[np.float32]], Any]
) -> NDArray[np.float32]:
    """[P, size] what ``function`` makes of rows of features as float32, some at a time; zero without a feature."""
    result = np.zeros((len(features), size), np.float32)

    def transform(begin: int) -> None:
        part = slice(begin, begin + _BATCH)
        result[part] = function(features[part].astype(np.float32))

    with threadpool_limits(1), ThreadPoolExecutor(cores()) as pool:  # numpy converts on one core
        list(pool.map(transform, range(0, len(features), _BATCH)))
    result[~has_feature] = 0
    return result
