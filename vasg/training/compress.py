"""The terms of the score as one inner product of few dimensions: the best there is, in closed form.

Stacked, the vectors of all terms are A [U, t] of users and B [P, t] of products, and the scores A B^T. What is the same
for all products does not rank them, and what is the same for all users is a bias of the product; of the rest, the best
approximation of d dimensions in squared error is the truncated singular value decomposition (Eckart and Young 1936).
It needs no scores, only the moments of A and B, which workers add up.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
_NEGLIGIBLE = 1e-10  # share of the largest eigenvalue below which a direction is taken for rounding


@dataclass
class Moments:
    """Count, sum [t] and second moments [t, t] of rows."""

    count: float
    sum: Doubles
    squares: Doubles

    @classmethod
    def none(cls, size: int) -> "Moments":
        """Of no rows."""
        return cls(0.0, np.zeros(size), np.zeros((size, size)))

    def add(self, rows: NDArray[Any]) -> None:
        """Take in ``rows`` [n, t]."""
        rows = rows.astype(np.float64)
        self.count += len(rows)
        self.sum += rows.sum(0)
        self.squares += rows.T @ rows

    def flat(self) -> Doubles:
        """All in one array, to be added up over workers."""
        return np.concatenate([[self.count], self.sum, self.squares.ravel()])

    @classmethod
    def of(cls, flat: Doubles, size: int) -> "Moments":
        """The inverse of ``flat``."""
        return cls(float(flat[0]), flat[1 : size + 1], flat[size + 1 :].reshape(size, size))

    def mean(self) -> Doubles:
        """[t]"""
        return self.sum / max(self.count, 1.0)

    def centred(self) -> Doubles:
        """[t, t] second moments around the mean."""
        return self.squares - self.count * np.outer(self.mean(), self.mean())


@dataclass(frozen=True)
class Compression:
    """Linear maps of stacked vectors to ``dim`` dimensions and a product's bias."""

    user_mean: Doubles  # [t]
    product_mean: Doubles  # [t]
    to_user: Doubles  # [t, dim]
    to_product: Doubles  # [t, dim]
    kept: float  # share of the sum of squares of the centred scores

    def users(self, rows: NDArray[Any]) -> Doubles:
        """[n, dim]"""
        found: Doubles = (rows - self.user_mean) @ self.to_user
        return found

    def products(self, rows: NDArray[Any]) -> tuple[Doubles, Doubles]:
        """[n, dim] and the bias [n]."""
        centred = rows - self.product_mean
        return centred @ self.to_product, centred @ self.user_mean


def compression(users: Moments, products: Moments, dim: int) -> Compression:
    """The maps for stacked vectors with these moments; dimensions that are not needed are zero.

    Users and products come out equally long in the mean square, so that their vectors can also be added and compared.
    """
    if not len(users.sum):  # no term but popularity counts
        nothing = np.zeros((0, dim))
        return Compression(users.mean(), products.mean(), nothing, nothing, 1.0)
    user_root, user_inverse = _root(users.centred())
    product_root, product_inverse = _root(products.centred())
    left, singular, right = np.linalg.svd(user_root.T @ product_root, full_matrices=False)
    used = min(dim, len(singular))
    root = np.sqrt(singular[:used])
    longer = (max(users.count, 1.0) / max(products.count, 1.0)) ** 0.25  # both sums of squares are the singular values'
    maps = np.zeros((2, len(users.sum), dim))
    maps[0, :, :used] = user_inverse @ left[:, :used] * root * longer
    maps[1, :, :used] = product_inverse @ right[:used].T * root / longer
    # one of two mirror images
    maps *= np.sign(np.take_along_axis(maps[0], np.abs(maps[0]).argmax(0)[None], 0) + 1e-300)
    total = float(np.square(singular).sum())
    kept = float(np.square(singular[:used]).sum()) / total if total else 1.0
    return Compression(users.mean(), products.mean(), maps[0], maps[1], kept)


def _root(squares: Doubles) -> tuple[Doubles, Doubles]:
    """R [t, r] with R R^T = ``squares``, and R (R^T R)^-1 [t, r], which undoes it."""
    values, vectors = np.linalg.eigh(squares)
    used = values > max(_NEGLIGIBLE * values[-1], 0.0)
    root = np.sqrt(values[used])
    return vectors[:, used] * root, vectors[:, used] / root
