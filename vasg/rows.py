"""Rows of features and vectors: brought to one length, thinned out, transformed a bounded number at a time."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from vasg.machine.cores import cores

_BATCH = 1024  # rows at a time: 16 MiB of features of 4,096


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


def unit(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Rows [n, d] as float32 of length 1, so that inner products are cosines; rows of zeros stay."""
    rows = rows.astype(np.float32, copy=False)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = rows / np.where(length == 0, 1, length)
    return scaled
