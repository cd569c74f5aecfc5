"""Does X_p1 - X_u1 + X_u2 lead from a product of one user to products of another? (paper, section 5, figure 3)"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from vasg.analysis.inputs import Inputs
from vasg.analysis.pairs import BoughtTogether
from vasg.randomness import integers, normal
from vasg.rows import unit
from vasg.scoring.bootstrap import mean_intervals

QUERIES = 10_000  # as in the paper
NEAREST = 5
ARITHMETIC = "p1 - u1 + u2"
_BLOCK = 256  # queries at a time
_RANDOM_DIM = 16

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Queries:
    """n times a user, one of this user's train products, and another user."""

    user: Ints  # [n] u1
    product: Ints  # [n] p1
    other: Ints  # [n] u2


@dataclass(frozen=True)
class LinearRelation:
    """What the arithmetic found, and the precision of it and of simpler ways to choose five products."""

    queries: Queries
    found: Ints  # [n, 5] nearest first, -1 where there are fewer products
    bought: Bools  # [n, 5] whether u2 bought them
    table: pa.Table  # a row for each way to choose and kind of hit


def sample(inputs: Inputs, seed: int, count: int = QUERIES) -> Queries:
    """u1 and u2 are drawn evenly from the users with a train product, p1 from the train products of u1.

    Empty where fewer than two users have one.
    """
    purchases = inputs.purchases
    chosen = purchases.of("train") & inputs.has_product[purchases.product] & inputs.has_user[purchases.user]
    starts = purchases.row_starts(chosen)
    users = np.flatnonzero(np.diff(starts))
    number = np.arange(count if len(users) > 1 else 0)
    first = integers(seed, "linear_relation", 0, number, len(users))
    second = (first + 1 + integers(seed, "linear_relation", 1, number, len(users) - 1)) % max(1, len(users))
    row = starts[users[first]] + integers(seed, "linear_relation", 2, number, np.diff(starts)[users[first]])
    return Queries(users[first], purchases.product[chosen][row], users[second])


def linear_relation(inputs: Inputs, seed: int, resamples: int, count: int = QUERIES) -> LinearRelation:
    """Precision@5 of the products nearest to X_p1 - X_u1 + X_u2 by cosine, p1 left out, beside simpler choices.

    ``hit`` says what counts. ``bought``: u2 is known to have bought the product, in any split. ``unseen``: u2 bought it in
    the splits for validation or test, and what u2 bought in train is left out of the choice. ``related``: some user bought
    it and p1. ``lead`` is the precision of the arithmetic less that of the row. 95 % intervals over u2 and p1.
    """
    purchases, queries = inputs.purchases, sample(inputs, seed, count)
    train, related = purchases.of("train"), BoughtTogether(purchases, np.ones(len(purchases.user), np.bool_))
    own = _matrix(np.arange(len(queries.user)), queries.product, (len(queries.user), purchases.products))
    seen = (
        own
        + _matrix(purchases.user[train], purchases.product[train], (purchases.users, purchases.products))[queries.other]
    )
    chosen, hits = {}, {}
    for name, (vectors, products) in _choices(inputs, queries, seed).items():
        chosen[name] = found = nearest(vectors, products, inputs.has_product, own)
        fresh = nearest(vectors, products, inputs.has_product, seen)
        together = np.column_stack([np.repeat(queries.product, NEAREST), found.ravel()])
        hits[name] = {
            "bought": _bought(inputs, queries.other, found),
            "unseen": _bought(inputs, queries.other, fresh),
            "related": related(together).reshape(found.shape) & (found >= 0),
        }
    return LinearRelation(
        queries, chosen[ARITHMETIC], hits[ARITHMETIC]["bought"], _table(hits, queries, resamples, seed)
    )


def nearest(vectors: Floats, products: Floats, candidates: Bools, excluded: csr_array) -> Ints:
    """[n, 5] the candidates with the highest inner products, best first, -1 where there are not as many.

    ``vectors`` [n, d], ``products`` [P, d], ``candidates`` [P]; ``excluded`` [n, P] says what each query may not find.
    """
    found = np.full((len(vectors), NEAREST), -1)
    most = min(NEAREST, len(products))
    for begin in range(0, len(vectors), _BLOCK):
        scores = vectors[begin : begin + _BLOCK] @ products.T
        scores[:, ~candidates] = -np.inf
        scores[excluded[begin : begin + _BLOCK].nonzero()] = -np.inf
        value, best = torch.topk(torch.from_numpy(scores), most)  # ten times as fast as numpy's argpartition
        found[begin : begin + _BLOCK, :most] = np.where(np.isfinite(value.numpy()), best.numpy(), -1)
    return found


def _choices(inputs: Inputs, queries: Queries, seed: int) -> dict[str, tuple[Floats, Floats]]:
    """Ways to choose: vectors of the queries [n, d] and of the products [P, d]."""
    places = unit(inputs.products)
    product, user, other = inputs.products[queries.product], inputs.users[queries.user], inputs.users[queries.other]
    popular = np.log1p(inputs.purchases.per_product("train")).astype(np.float32)[:, None]
    dims, products = np.arange(_RANDOM_DIM), np.arange(len(places))
    return {
        ARITHMETIC: (product - user + other, places),
        "u2 alone": (other, places),
        "p1 alone": (product, places),
        "most popular": (np.ones((len(user), 1), np.float32), popular),
        "random": (
            normal(seed, "linear_relation", np.arange(len(user))[:, None] + 3, dims).astype(np.float32),
            normal(seed, "linear_relation", -1 - products[:, None], dims).astype(np.float32),
        ),
    }


def _matrix(rows: Ints, columns: Ints, shape: tuple[int, int]) -> csr_array:
    return csr_array((np.ones(len(rows), np.bool_), (rows, columns)), shape)


def _bought(inputs: Inputs, user: Ints, found: Ints) -> Bools:
    """[n, 5] whether the user of each row bought the products found, in any split."""
    purchases = inputs.purchases
    known = purchases.user * purchases.products + purchases.product
    return np.isin(user[:, None] * purchases.products + found, known) & (found >= 0)


def _table(hits: dict[str, dict[str, Bools]], queries: Queries, resamples: int, seed: int) -> pa.Table:
    keys = [(name, hit) for name, kinds in hits.items() for hit in kinds]
    precision = {key: hits[key[0]][key[1]].mean(axis=1) for key in keys}  # [n] each
    columns = [value for key in keys for value in (precision[key], precision[ARITHMETIC, key[1]] - precision[key])]
    values = np.column_stack(columns)
    means = values.sum(axis=0) / max(1, len(values))
    low, high = mean_intervals(values, queries.other, queries.product, True, resamples, seed)
    rows: list[dict[str, Any]] = []
    for i, (name, hit) in enumerate(keys):
        row: dict[str, Any] = {"chosen by": name, "hit": hit}
        for j, quantity in ((2 * i, "precision"), (2 * i + 1, "lead")):
            row |= {quantity: means[j], f"{quantity}_low": low[j], f"{quantity}_high": high[j]}
        rows.append(row | {"queries": len(values)})
    return pa.Table.from_pylist(rows)
