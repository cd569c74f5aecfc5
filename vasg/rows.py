"""Rows of features and vectors brought to one length."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def unit(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Rows [n, d] as float32 of length 1, so that inner products are cosines; rows of zeros stay."""
    rows = rows.astype(np.float32, copy=False)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = rows / np.where(length == 0, 1, length)
    return scaled
