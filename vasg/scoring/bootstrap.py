"""Confidence intervals by resampling users, or users and products at once."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vasg.randomness import uniform

FEWEST_PAIRS = 30  # with fewer test pairs an interval is too narrow to be believed
_CHUNK = 1 << 22  # weights held at a time
_POISSON = np.cumsum(np.exp(-1.0) / np.cumprod(np.maximum(np.arange(20), 1.0)))  # distribution function of Poisson(1)


def intervals(
    values: NDArray[np.float64], user_values: NDArray[np.float64], user: NDArray[np.int64], product: NDArray[np.int64],
    two_way: bool, resamples: int, seed: int,
) -> NDArray[np.float64]:  # fmt: skip
    """95 % percentile intervals of means, [2, A + B].

    ``values`` [n, A] belong to pairs of ``user`` (ascending) and ``product`` nodes, ``user_values`` [m, B] to the distinct
    users. Each resample weighs every user by a Poisson(1) number, which stands for drawing users with replacement. With
    ``two_way`` a pair weighs the user's times the product's number (pigeonhole bootstrap: Owen, "The pigeonhole
    bootstrap", Annals of Applied Statistics 2007), and a user the mean over the pairs, so that test products that many
    users share count as few observations. A resample without any weight says nothing and is left out.
    """
    users, user_starts, user_row = np.unique(user, return_index=True, return_inverse=True)
    products, product_row = np.unique(product, return_inverse=True)
    pairs_of_user = np.bincount(user_row)
    means = np.full((resamples, values.shape[1] + user_values.shape[1]), np.nan)
    step = max(1, _CHUNK // len(user))
    for begin in range(0, resamples, step):
        resample = np.arange(begin, min(resamples, begin + step))
        weight = _weights(seed, resample, users)[:, user_row]  # [step, n]
        if two_way:
            weight *= _weights(seed, resample, products)[:, product_row]
        user_weight = np.add.reduceat(weight, user_starts, axis=1) / pairs_of_user  # [step, m]
        with np.errstate(invalid="ignore"):
            means[resample] = np.hstack([
                weight @ values / weight.sum(axis=1, keepdims=True),
                user_weight @ user_values / user_weight.sum(axis=1, keepdims=True),
            ])  # fmt: skip
    means = means[~np.isnan(means).any(axis=1)]
    if not len(means):
        return np.full((2, means.shape[1]), np.nan)
    bounds: NDArray[np.float64] = np.quantile(means, (0.025, 0.975), axis=0)
    return bounds


def mean_intervals(
    values: NDArray[Any], user: NDArray[np.int64], product: NDArray[np.int64], two_way: bool, resamples: int, seed: int,
    one_kind: bool = False,
) -> NDArray[np.float64]:  # fmt: skip
    """The same for means over pairs alone, [2, A], in any order; NaN without pairs.

    Users and products may both be numbered from 0: their weights are independent, unless both are of ``one_kind``.
    """
    if not len(values):
        return np.full((2, values.shape[1]), np.nan)
    product = product if one_kind else product + user.max() + 1
    order = np.argsort(user, kind="stable")
    nothing = np.zeros((len(np.unique(user)), 0))
    return intervals(values[order], nothing, user[order], product[order], two_way, resamples, seed)


def _weights(seed: int, resample: NDArray[np.int64], nodes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Poisson(1) numbers [resamples, nodes], each a function of its resample and its node alone."""
    drawn: Any = np.searchsorted(_POISSON, uniform(seed, "bootstrap", resample[:, None], nodes[None, :]), side="right")
    return np.asarray(drawn, np.float64)
