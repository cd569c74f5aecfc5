"""The plainest thing that pictures say of taste: how near a product is to the mean of what the user bought."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.decomposition import PCA

from vasg.feature_matrix import spread, transformed, unit

_COMPONENTS = 128
_EVIDENCE = 3.0  # purchases at which a user's mean counts half: one purchase tells little

Floats = NDArray[np.float32]


def mean_picture(
    features: NDArray[Any], has_feature: NDArray[np.bool_], pairs: NDArray[np.int64], users: int, warm: int, seed: int
) -> Floats:
    """[U + P, k] principal components of products' pictures, and n / (n + 3) times the mean of the user's n purchases.

    ``features`` [P, I] by product; ``pairs`` [n, 2] user and product (from 0) of the train split. Components keep their
    variances: what pictures differ in most counts most. Without a picture: zero. Nothing of a product from ``warm`` on
    enters the fit.
    """
    fitted = spread(np.flatnonzero(has_feature[:warm]))
    size = min(_COMPONENTS, features.shape[1], len(fitted) - 1)
    if size < 1:
        return np.zeros((users + len(features), 1), np.float32)
    pca = PCA(size, random_state=seed % 2**32).fit(unit(features[fitted]))
    looks = transformed(features, has_feature, size, lambda rows: pca.transform(unit(rows)))
    pairs = pairs[has_feature[pairs[:, 1]]]
    bought = csr_array((np.ones(len(pairs), np.float32), (pairs[:, 0], pairs[:, 1])), (users, len(features)))
    taste = bought @ looks / (bought.sum(1) + np.float32(_EVIDENCE))[:, None]
    return np.concatenate([taste, looks])
