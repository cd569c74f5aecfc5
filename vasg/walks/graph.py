"""The network of users and products as compressed sparse rows (CSR), from the train pairs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vasg.errors import DataError
from vasg.machine.compiled import njit
from vasg.walks import alias as alias_tables

Batches = Callable[[], Iterator[pa.RecordBatch]]  # each call reads the table again, from the start


@dataclass(frozen=True)
class Graph:
    """Neighbours of node n: ``indices[indptr[n]:indptr[n + 1]]``, ascending. Alias tables stand beside ``indices``."""

    indptr: NDArray[Any]  # [V + 1]
    indices: NDArray[Any]  # [directed edges]
    threshold: NDArray[np.uint32] | None = None  # [directed edges], rating-weighted transitions only
    alias: NDArray[Any] | None = None  # [directed edges]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays there are, by name."""
        return {name: array for name, array in vars(self).items() if array is not None}


def count_nodes(nodes: Batches) -> tuple[int, int]:
    """(U, V): users, and users and warm products, in the table ``nodes``."""
    users = warm = 0
    for batch in nodes():
        is_user = pc.equal(batch.column("node_type"), "user")
        users += pc.sum(is_user).as_py() or 0
        warm += pc.sum(pc.and_(pc.invert(is_user), pc.invert(batch.column("is_cold")))).as_py() or 0
    return users, users + warm


def count_degrees(interactions: Batches, users: int, nodes: int, weighted: bool) -> NDArray[np.uint32]:
    """Number of neighbours of every node [V], users [0, ``users``) and warm products after.

    Raises DataError when there is no train pair, a pair is out of range or, with ``weighted``, a rating is not positive.
    """
    degrees = np.zeros(nodes, np.uint32)
    for user, product, rating, train in _pairs(interactions, weighted):
        if rating is not None:
            _check_ratings(user[train], product[train], rating[train])
        if not _count(degrees, users, user, product, train):
            raise DataError(
                f"table interactions: a train pair is outside of users [0, {users}) and warm products [{users}, {nodes})"
                " of table nodes; run filter_users again"
            )
    if not degrees.any():
        raise DataError("table interactions: no pair has the split train, so there is no network to walk on")
    return degrees


def csr_bytes(degrees: NDArray[np.uint32], weighted: bool) -> int:
    """Size of the graph that ``build`` would make."""
    edges, nodes = int(degrees.sum(dtype=np.int64)), len(degrees)
    index = node_type(nodes).itemsize
    return (nodes + 1) * _pointer_type(edges).itemsize + edges * (2 * index + 4 if weighted else index)


def node_type(nodes: int) -> np.dtype[Any]:
    """The smallest signed integer that holds every node."""
    return np.dtype(np.int32 if nodes < 2**31 else np.int64)


def build(interactions: Batches, degrees: NDArray[np.uint32], users: int, weighted: bool) -> Graph:
    """The CSR of the train pairs, in O(V + edges) time and without a second copy of the edges.

    A counting sort puts the products of each user in place, in any order. Going through the users in order then gives
    every product its users in order, and going through the products gives every user its products in order. With
    ``weighted``, alias tables by rating.
    """
    nodes, edges = len(degrees), int(degrees.sum(dtype=np.int64))
    indptr = np.zeros(nodes + 1, _pointer_type(edges))
    np.cumsum(degrees, out=indptr[1:])
    indices = np.empty(edges, node_type(nodes))
    weights = np.empty(edges, np.float32) if weighted else None
    cursor = indptr[:-1].copy()
    for user, product, rating, train in _pairs(interactions, weighted):
        _scatter(cursor, indices, weights, user, product, rating, train)
    _transpose(indptr, indices, weights, 0, users, cursor)
    cursor[:users] = indptr[:users]
    _transpose(indptr, indices, weights, users, nodes, cursor)
    if weights is None:
        return Graph(indptr, indices)
    return Graph(indptr, indices, *alias_tables.build(indptr, indices, weights))


def _check_ratings(user: NDArray[Any], product: NDArray[Any], rating: NDArray[np.float32]) -> None:
    """Raise DataError unless every rating is a positive finite number."""
    wrong = np.flatnonzero(~((rating > 0) & np.isfinite(rating)))
    if len(wrong):
        at = wrong[0]
        raise DataError(
            f"table interactions: rating {rating[at]} of user {user[at]} and product {product[at]} is not a positive"
            ' number; set walks.transition = "uniform" or correct the ratings'
        )


def _pointer_type(edges: int) -> np.dtype[Any]:
    return np.dtype(np.uint32 if edges < 2**32 else np.int64)


def _pairs(
    interactions: Batches, weighted: bool
) -> Iterator[tuple[NDArray[Any], NDArray[Any], NDArray[np.float32] | None, NDArray[np.bool_]]]:
    """(user, product, rating with ``weighted``, whether it is a train pair) as arrays, batch by batch."""
    for batch in interactions():
        user, product = (batch.column(name).to_numpy(zero_copy_only=False) for name in ("user", "product"))
        rating = batch.column("rating").to_numpy(zero_copy_only=False) if weighted else None
        yield user, product, rating, pc.equal(batch.column("split"), "train").to_numpy(zero_copy_only=False)


@njit(nogil=True, cache=True)
def _count(degrees: Any, users: int, user: Any, product: Any, train: Any) -> bool:
    """Count the train pairs of both their nodes; False at one that is out of range."""
    for i in range(len(train)):
        if train[i]:
            if not (0 <= user[i] < users <= product[i] < len(degrees)):
                return False
            degrees[user[i]] += np.uint32(1)
            degrees[product[i]] += np.uint32(1)
    return True


@njit(nogil=True, cache=True)
def _scatter(cursor: Any, indices: Any, weights: Any, user: Any, product: Any, rating: Any, train: Any) -> None:
    for i in range(len(train)):
        if train[i]:
            at = cursor[user[i]]
            cursor[user[i]] += 1
            indices[at] = product[i]
            if weights is not None:
                weights[at] = rating[i]


@njit(nogil=True, cache=True)
def _transpose(indptr: Any, indices: Any, weights: Any, first: int, last: int, cursor: Any) -> None:
    """Write each node of [first, last) into the lists of its neighbours, at their cursors."""
    for node in range(first, last):
        for edge in range(indptr[node], indptr[node + 1]):
            neighbour = indices[edge]
            at = cursor[neighbour]
            cursor[neighbour] += 1
            indices[at] = node
            if weights is not None:
                weights[at] = weights[edge]
