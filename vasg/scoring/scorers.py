"""How a block of users scores a tile of products: one class for each kind of model, all with the same two methods.

``prepare(columns)`` fetches what a tile of catalogue columns [tile] needs, once for all users of the block;
``fill(users, prepared, out)`` writes the scores of a slice of the block's rows into ``out`` [rows, tile]. A score is the
same number wherever it is computed (``vasg.scoring.product``).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array

from vasg.scoring.product import packed, product, raise_to

Floats = NDArray[np.float32]


class InnerProduct:
    """A score is the inner product of the user's vector and the product's."""

    def __init__(self, users: Floats, vectors: NDArray[Any]) -> None:
        self._users, self._vectors = users, vectors  # [rows, d], [columns, d]

    def prepare(self, columns: Any) -> Floats:
        """The tile's vectors, packed."""
        return packed(self._vectors[columns])

    def fill(self, users: slice, prepared: Floats, out: Floats) -> None:
        """One matrix product."""
        product(self._users[users], prepared, out)


class Nearest:
    """A score is the largest inner product of the product's vector with one of the user's vectors."""

    def __init__(self, looks: Floats, starts: NDArray[np.int64], vectors: NDArray[Any], chunk: int) -> None:
        self._looks, self._starts, self._vectors = looks, starts, vectors  # [n, d], [rows + 1], [columns, d]
        self._chunk = chunk

    def prepare(self, columns: Any) -> Floats:
        """The tile's vectors, packed."""
        return packed(self._vectors[columns])

    def fill(self, users: slice, prepared: Floats, out: Floats) -> None:
        """The best of each user's rows; users without one tie all products."""
        starts = self._starts[users.start : users.stop + 1]
        out[:] = -np.inf
        row_of = np.repeat(np.arange(len(out)), np.diff(starts))
        looks = np.zeros((self._chunk, self._looks.shape[1]), np.float32)
        every = np.empty((self._chunk, out.shape[1]), np.float32)
        for begin in range(0, len(row_of), self._chunk):
            rows = row_of[begin : begin + self._chunk]
            looks[: len(rows)] = self._looks[starts[0] + begin : starts[0] + begin + len(rows)]
            product(looks, prepared, every)
            raise_to(rows, every, out)
        out[np.diff(starts) == 0] = 0


class Neighbours:
    """A score is the sum of the cosines between the buyers of the product and those of each of the user's products."""

    def __init__(self, bought: csr_array, users: NDArray[np.int64], rows: int) -> None:
        """``bought`` [U, columns] holds 1 / sqrt(buyers of the product) for each train purchase."""
        mine = bought[users].sign()
        scores = (mine @ bought.T.tocsr()) @ bought
        scores.resize((rows, bought.shape[1]))
        self._scores = csc_array(scores)

    def prepare(self, columns: Any) -> csr_array:
        """[rows, tile]"""
        return csr_array(self._scores[:, columns])

    def fill(self, users: slice, prepared: csr_array, out: Floats) -> None:
        """Zero where no co-purchase connects user and product."""
        prepared[users].toarray(out=out)
