"""Pictures as few numbers: the principal components of the image features."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from vasg.randomness import seed_of_32_bits
from vasg.rows import spread, transformed, unit

Floats = NDArray[np.float32]
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
