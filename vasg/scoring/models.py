"""Every model as vectors: the score of a product for a user is the inner product of their two rows.

Two baselines are not (see ``vasg.scoring.scorers``): image_knn, the best of several products, and item_knn.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vasg.randomness import normal, permutation
from vasg.scoring.inputs import Embeddings, Purchases

TILE = 1024  # products scored at a time; every tile is this wide, so that every product gets the same arithmetic
_RANDOM_DIM = 16
PUBLISHED = "vasg"  # the model behind the recommendations

Rows = Callable[[NDArray[np.int64]], NDArray[Any]]


@dataclass(frozen=True)
class Catalogue:
    """Products in columns: warm ones, free columns up to a multiple of TILE, cold ones, free columns again.

    Within warm and within cold the seeded permutation "ties" decides the order, so that whichever of equal scores comes
    first is decided by it and not by ids. Products without a vector have no column.
    """

    vectors: NDArray[Any]  # [columns, d] float32 or float16, zero in free columns
    product: NDArray[np.int64]  # [columns], -1 in free columns
    column: NDArray[np.int64]  # [P], -1 without a vector
    warm_tiles: int


@dataclass(frozen=True)
class Model:
    """The vectors of the users that are scored and of all products."""

    name: str
    user: NDArray[np.int64]  # [n] numbers of the users, ascending
    user_vectors: NDArray[np.float32]  # [n, d]
    catalogue: Catalogue
    row_starts: NDArray[np.int64] | None = None  # [n + 1]: a user has several rows of user_vectors, the best one counts
    by_neighbours: bool = False  # item_knn: scores come from co-purchases, vectors have no part in it


def catalogue(rows: Rows, has_vector: NDArray[np.bool_], warm: int, seed: int, tile: int = TILE) -> Catalogue:
    """Arrange products; ``rows`` gives the vectors [n, d] of some of them, ``has_vector`` [P] says which have one."""
    order = permutation(seed, "ties", 0, len(has_vector))
    order = order[has_vector[order]]
    parts = order[order < warm], order[order >= warm]
    tiles = [-(-len(part) // tile) for part in parts]
    product = np.full(max(1, sum(tiles)) * tile, -1, np.int64)  # never without a tile
    product[: len(parts[0])] = parts[0]
    product[tiles[0] * tile :][: len(parts[1])] = parts[1]
    column = np.full(len(has_vector), -1, np.int64)
    column[product[product >= 0]] = np.flatnonzero(product >= 0)
    kind = rows(product[:0])
    vectors = np.zeros((len(product), kind.shape[1]), kind.dtype)
    for begin in range(0, len(product), tile):
        part = product[begin : begin + tile]
        vectors[begin : begin + tile][part >= 0] = rows(part[part >= 0])
    return Catalogue(vectors, product, column, tiles[0])


def vasg(purchases: Purchases, embeddings: Embeddings, seed: int) -> Model:
    """The published model: the rows of the table embeddings, for every user."""
    users, products = _split(purchases, embeddings)
    has_vector = embeddings.origin[purchases.users :] >= 0
    columns = catalogue(lambda chosen: products[chosen], has_vector, purchases.warm, seed)
    return Model(PUBLISHED, np.arange(purchases.users), users, columns)


def learned(name: str, purchases: Purchases, vectors: Embeddings, users: NDArray[np.int64], seed: int) -> Model:
    """A baseline that was trained, from its vectors."""
    of_users, products = _split(purchases, vectors)
    columns = catalogue(lambda chosen: products[chosen], vectors.origin[purchases.users :] >= 0, purchases.warm, seed)
    return Model(name, users, of_users[users], columns)


def _split(purchases: Purchases, embeddings: Embeddings) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Vectors of users and of products.

    The last number of products is their popularity where that of all users is one and the same: a user without a vector,
    of whom no purchase is known, has it, too. Otherwise such a user ties all products.
    """
    users, products = np.split(embeddings.vectors, [purchases.users])
    known = embeddings.origin[: purchases.users] >= 0
    last = users[known, -1]
    if len(last) > 1 and not known.all() and (last == last[0]).all():
        users = users.copy()
        users[~known, -1] = last[0]
    return users, products


def random(purchases: Purchases, users: NDArray[np.int64], seed: int) -> Model:
    """Seeded normal vectors: what scores without any information give."""
    dims = np.arange(_RANDOM_DIM)

    def vectors(nodes: NDArray[np.int64]) -> NDArray[np.float32]:
        drawn: NDArray[np.float32] = normal(seed, "random_model", nodes[:, None], dims).astype(np.float32)
        return drawn

    columns = catalogue(
        lambda chosen: vectors(purchases.users + chosen), np.ones(purchases.products, np.bool_), purchases.warm, seed
    )
    return Model("random", users, vectors(users), columns)


def most_popular(purchases: Purchases, users: NDArray[np.int64], seed: int) -> Model:
    """The number of purchases of a product in split train, the same for every user."""
    sold = purchases.per_product("train").astype(np.float32)
    columns = catalogue(lambda chosen: sold[chosen, None], np.ones(purchases.products, np.bool_), purchases.warm, seed)
    return Model("most_popular", users, np.ones((len(users), 1), np.float32), columns)


def item_knn(purchases: Purchases, users: NDArray[np.int64], seed: int) -> Model:
    """Sum of the cosines between the buyers of a product and the buyers of each train product of the user."""
    columns = catalogue(
        lambda chosen: np.zeros((len(chosen), 1), np.float32),
        np.ones(purchases.products, np.bool_),
        purchases.warm,
        seed,
    )
    return Model("item_knn", users, np.zeros((len(users), 1), np.float32), columns, by_neighbours=True)
