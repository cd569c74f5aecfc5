"""One pass over users x products, in Spark tasks: the counts behind AUC and the top K come out of the same tiles.

A task takes a block of users and goes through the catalogue tile by tile: one matrix product, known products masked, the
candidates above and level with each test pair counted, the best kept. Nothing of size users x products is ever stored.
A score is the same number wherever it is computed (``vasg.scoring.product``).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from vasg.scoring import kernel
from vasg.scoring.models import TILE
from vasg.scoring.scorers import InnerProduct, Nearest, Neighbours

USERS = 256  # rows of a tile, a multiple of registers.ROWS


@dataclass(frozen=True)
class Arrays:
    """All that a block needs; plain or memory-mapped arrays, see Catalogue, Model and Purchases for their meaning."""

    user: NDArray[np.int64]
    user_vectors: NDArray[np.float32]
    vectors: NDArray[Any]
    product: NDArray[np.int64]
    column: NDArray[np.int64]
    known: NDArray[np.int64]  # products known to be bought by user after user
    known_starts: NDArray[np.int64]  # [U + 1]
    test: NDArray[np.int64]  # test products by user after user
    test_starts: NDArray[np.int64]  # [U + 1]
    row_starts: NDArray[np.int64]  # [n + 1], see Model; empty for the inner product
    bought: NDArray[np.int64]  # products of the train purchases by user after user
    bought_starts: NDArray[np.int64]  # [U + 1]


@dataclass(frozen=True)
class Settings:
    """What to compute: ``best`` holds how many warm and how many cold products to select for each user."""

    warm: int  # W
    warm_tiles: int
    best: tuple[int, int] = (0, 0)
    by_neighbours: bool = False  # item_knn
    tile: int = TILE  # a multiple of bits.WIDTH
    rows: int = USERS  # a multiple of registers.ROWS


@dataclass(frozen=True)
class Ranks:
    """Test pairs of a block, with counts of candidates among warm products (column 0) and cold ones (column 1)."""

    user: NDArray[np.int64]  # [n]
    product: NDArray[np.int64]  # [n]
    above: NDArray[np.int64]  # [n, 2]
    tied: NDArray[np.int64]  # [n, 2]
    candidates: NDArray[np.int64]  # [n, 2]


@dataclass(frozen=True)
class Best:
    """Selected products of each user of a block, one warm and one cold part; -inf and any product in free places."""

    scores: tuple[NDArray[np.float32], NDArray[np.float32]]  # [users, best]
    products: tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class _Block:
    """The users of a block, padded with users of zeros to whole tiles, with their known products and their test pairs."""

    rows: int
    scorer: InnerProduct | Nearest | Neighbours
    known: NDArray[np.int64]  # columns, ascending within each row
    cursor: NDArray[np.int64]  # [rows] first known column not masked yet
    last: NDArray[np.int64]  # [rows] where a row's known columns end
    test_row: NDArray[np.int64]  # [n] ascending
    own: NDArray[np.float32]  # [n] score of the test product


def score_block(arrays: Arrays, settings: Settings, begin: int, end: int) -> tuple[Ranks, Best]:
    """Score the users at positions [begin, end) of the model, on one thread."""
    user = np.asarray(arrays.user[begin:end])
    rows = -(-len(user) // settings.rows) * settings.rows
    scorer = _scorer(arrays, settings, begin, end, rows)
    known, starts = _known_columns(arrays, user, rows)
    test_row, test_product = _rows_of(user, arrays.test, arrays.test_starts)
    own = _own_scores(arrays, settings, scorer, rows, test_row, test_product)
    block = _Block(rows, scorer, known, starts[:-1].copy(), starts[1:], test_row, own)

    above, tied = np.zeros((2, 2, len(own)), np.int64)
    warm, cold = (
        _score_tiles(arrays, settings, block, tiles, settings.best[i], above[i], tied[i])
        for i, tiles in enumerate((
            range(settings.warm_tiles), range(settings.warm_tiles, len(arrays.product) // settings.tile)
        ))
    )  # fmt: skip
    candidates, unscored = _candidates(arrays, settings, user)
    tied = np.where(own == -np.inf, unscored[:, test_row], tied)  # products without a vector come last, together
    ranks = Ranks(user[test_row], test_product, above.T, tied.T, candidates[:, test_row].T)
    products = np.asarray(arrays.product)
    return ranks, Best(
        (warm[0][: len(user)], cold[0][: len(user)]), (products[warm[1][: len(user)]], products[cold[1][: len(user)]])
    )


def _scorer(arrays: Arrays, settings: Settings, begin: int, end: int, rows: int) -> InnerProduct | Nearest | Neighbours:
    """What scores the users at positions [begin, end), as ``rows`` rows."""
    if settings.by_neighbours:
        column = np.asarray(arrays.column[arrays.bought])
        weight = (1 / np.sqrt(np.bincount(column)[column])).astype(np.float32)
        shape = (len(arrays.bought_starts) - 1, len(arrays.product))
        return Neighbours(
            csr_array((weight, column, np.asarray(arrays.bought_starts)), shape), arrays.user[begin:end], rows
        )
    if len(arrays.row_starts):
        starts = np.asarray(arrays.row_starts[begin : end + 1])
        looks = np.asarray(arrays.user_vectors[starts[0] : starts[-1]], np.float32)
        starts = np.pad(starts - starts[0], (0, rows - (end - begin)), mode="edge")
        return Nearest(looks, starts, arrays.vectors, settings.rows)
    users = np.zeros((rows, arrays.user_vectors.shape[1]), np.float32)
    users[: end - begin] = arrays.user_vectors[begin:end]
    return InnerProduct(users, arrays.vectors)


def _score_tiles(
    arrays: Arrays,
    settings: Settings,
    block: _Block,
    tiles: range,
    k: int,
    above: NDArray[np.int64],
    tied: NDArray[np.int64],
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Add to the counts of the test pairs from these tiles; returns scores and columns [rows, k] of the best."""
    rows, pairs = block.rows, np.arange(0, block.rows + 1, settings.rows)
    pairs = np.searchsorted(block.test_row, pairs)  # where the test pairs of each tile begin
    limit, filled = np.full(rows, -np.inf, np.float32), np.zeros(rows, np.int64)
    values = np.full((rows, kernel.capacity(k)), -np.inf, np.float32)
    columns = np.zeros(values.shape, np.int32)
    scores = np.empty((settings.rows, settings.tile), np.float32)
    for first in (number * settings.tile for number in tiles):
        products = slice(first, first + settings.tile)
        width = int((arrays.product[products] >= 0).sum())
        prepared = block.scorer.prepare(products)
        for number, row in enumerate(range(0, rows, settings.rows)):
            users, mine = slice(row, row + settings.rows), slice(pairs[number], pairs[number + 1])
            block.scorer.fill(users, prepared, scores)
            scores[:, width:] = -np.inf
            kernel.mask(scores, first, block.known, block.cursor[users], block.last[users])
            kernel.count(scores, block.test_row[mine] - row, block.own[mine], above[mine], tied[mine])
            if k:
                kernel.select(scores, first, k, limit[users], filled[users], values[users], columns[users])
    kernel.finish(k, filled, limit, values, columns)
    return values[:, :k], columns[:, :k]


def _rows_of(
    user: NDArray[np.int64], values: NDArray[np.int64], starts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The values that belong to these users, and the position of each one's user."""
    begin, length = starts[user], starts[user + 1] - starts[user]
    row = np.repeat(np.arange(len(user)), length)
    offset = np.arange(len(row)) - np.repeat(np.cumsum(length) - length, length)
    return row, np.asarray(values[np.repeat(begin, length) + offset])


def _known_columns(arrays: Arrays, user: NDArray[np.int64], padded: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Columns of each user's known products, ascending, and where each row's begin [padded + 1]."""
    row, product = _rows_of(user, arrays.known, arrays.known_starts)
    column = np.asarray(arrays.column[product])
    row, column = row[column >= 0], column[column >= 0]
    starts = np.concatenate(([0], np.cumsum(np.bincount(row, minlength=padded))))
    return column[np.lexsort((column, row))], starts


def _own_scores(
    arrays: Arrays, settings: Settings, scorer: InnerProduct | Nearest | Neighbours, rows: int, row: NDArray[np.int64],
    product: NDArray[np.int64],
) -> NDArray[np.float32]:  # fmt: skip
    """Score of each test pair by the same tile product as its competitors' (so that equals tie); -inf without a vector."""
    own = np.full(len(row), -np.inf, np.float32)
    column = arrays.column[product]
    scores = np.empty((settings.rows, settings.tile), np.float32)
    for begin in range(0, rows, settings.rows):
        pairs = np.flatnonzero((row >= begin) & (row < begin + settings.rows) & (column >= 0))
        for at in range(0, len(pairs), settings.tile):
            part = pairs[at : at + settings.tile]
            tile = np.pad(column[part], (0, settings.tile - len(part)), mode="edge")
            scorer.fill(slice(begin, begin + settings.rows), scorer.prepare(tile), scores)
            own[part] = scores[row[part] - begin, np.arange(len(part))]
    return own


def _candidates(
    arrays: Arrays, settings: Settings, user: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Warm and cold candidates of each user, and those among them without a vector; both [2, users]."""
    column = np.asarray(arrays.column)
    is_cold = np.arange(len(column)) >= settings.warm
    row, known = _rows_of(user, arrays.known, arrays.known_starts)
    result = np.empty((2, 2, len(user)), np.int64)
    for i, chosen in enumerate((column >= -1, column == -1)):
        for cold in (0, 1):
            kind = chosen & (is_cold == bool(cold))
            result[i, cold] = kind.sum() - np.bincount(row[kind[known]], minlength=len(user))
    return result[0], result[1]
