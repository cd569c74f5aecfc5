"""Confidence intervals of means over things that come in two overlapping kinds of groups."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vasg.scoring.bootstrap import intervals


def bounds(
    values: NDArray[Any], first: NDArray[np.int64], second: NDArray[np.int64], resamples: int, seed: int
) -> NDArray[np.float64]:
    """95 % intervals [2, A] of the means of ``values`` [n, A], resampling the groups ``first`` and ``second`` [n] at once.

    See ``vasg.scoring.bootstrap``: what shares a user, or a product, counts as few observations. NaN without values.
    """
    if not len(values):
        return np.full((2, values.shape[1]), np.nan)
    order = np.argsort(first, kind="stable")
    of_groups = np.zeros((len(np.unique(first)), 0))
    return intervals(values[order], of_groups, first[order], second[order], True, resamples, seed)
