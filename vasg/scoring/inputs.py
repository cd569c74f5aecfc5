"""What scoring reads, as arrays: the purchases of users by number, and the vectors of the model."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from vasg import schemas
from vasg.errors import DataError
from vasg.warehouse.tables import Warehouse

SPLITS = ("train", "validation_warm", "validation_cold", "test_warm", "test_cold")
ORIGINS = ("trained", "mapped")
_BATCH = 16_384


@dataclass(frozen=True)
class Purchases:
    """Users [0, U), products [0, P) with the W warm ones first, and the N known pairs sorted by (user, product).

    A product's number here is its node less U. ``split`` holds positions in SPLITS.
    """

    user_ids: pa.Array
    product_ids: pa.Array
    is_cold: NDArray[np.bool_]  # [P]
    user: NDArray[np.int64]  # [N]
    product: NDArray[np.int64]  # [N]
    rating: NDArray[np.float32]  # [N]
    split: NDArray[np.int8]  # [N]

    @property
    def users(self) -> int:
        """U."""
        return len(self.user_ids)

    @property
    def products(self) -> int:
        """P."""
        return len(self.product_ids)

    @property
    def warm(self) -> int:
        """W."""
        return int((~self.is_cold).sum())

    def of(self, *splits: str) -> NDArray[np.bool_]:
        """Which of the N pairs are in these splits."""
        return np.isin(self.split, [SPLITS.index(name) for name in splits])

    def per_product(self, *splits: str) -> NDArray[np.int64]:
        """[P] pairs of each product in these splits."""
        return np.bincount(self.product[self.of(*splits)], minlength=self.products)

    def per_user(self, *splits: str) -> NDArray[np.int64]:
        """[U] pairs of each user in these splits."""
        return np.bincount(self.user[self.of(*splits)], minlength=self.users)

    def row_starts(self, chosen: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Where each user's pairs begin, [U + 1]; of the chosen ones when only those are kept."""
        users = self.user if chosen is None else self.user[chosen]
        return np.concatenate(([0], np.cumsum(np.bincount(users, minlength=self.users)))).astype(np.int64)


@dataclass(frozen=True)
class Embeddings:
    """One row a node, zero where it has no vector; ``origin`` holds positions in ORIGINS, -1 for no vector."""

    vectors: NDArray[np.float32]  # [U + P, D]
    origin: NDArray[np.int8]  # [U + P]


def read_purchases(warehouse: Warehouse) -> Purchases:
    """The tables nodes and interactions. Raises DataError when they do not hold what their schema promises."""
    nodes = warehouse.read_arrow("nodes")
    nodes = nodes.take(pc.sort_indices(nodes["node"]))
    if not np.array_equal(nodes["node"].to_numpy(), np.arange(len(nodes))):
        raise DataError("table nodes: column node should count from 0 without gaps; run filter_users again")
    is_user = pc.equal(nodes["node_type"], "user").to_numpy()
    is_cold = nodes["is_cold"].to_numpy()
    users = int(is_user.sum())
    order = np.where(is_user, 0, np.where(is_cold, 2, 1))
    if (np.diff(order) < 0).any():
        raise DataError("table nodes: users should come first, then warm products, then cold; run filter_users again")
    ids = nodes["id"].combine_chunks().cast(pa.large_string())

    pairs = warehouse.read_arrow("interactions")
    split = pc.index_in(pairs["split"], value_set=pa.array(SPLITS, pairs["split"].type))
    if split.null_count:
        unknown = pc.unique(pairs["split"].filter(pc.is_null(split))).to_pylist()
        raise DataError(f"table interactions: unknown split {unknown[0]}; splits are {', '.join(SPLITS)}")
    user, node = pairs["user"].to_numpy(), pairs["product"].to_numpy()
    outside = (user < 0) | (user >= users) | (node < users) | (node >= len(nodes))
    if outside.any():
        at = int(outside.argmax())
        raise DataError(
            f"table interactions: {outside.sum()} pairs are not of a user and a product of table nodes, the first is "
            f"({user[at]}, {node[at]}); run filter_users again"
        )
    by_pair = np.lexsort((node, user))
    return Purchases(
        ids[:users], ids[users:], is_cold[users:], user[by_pair], node[by_pair] - users,
        pairs["rating"].to_numpy()[by_pair], split.to_numpy().astype(np.int8)[by_pair],
    )  # fmt: skip


def read_embeddings(warehouse: Warehouse, nodes: int) -> Embeddings:
    """The table embeddings. Raises DataError for unknown or repeated nodes and for vectors that are not finite."""
    vectors: NDArray[np.float32] | None = None
    origin = np.full(nodes, -1, np.int8)
    for batch in warehouse.batches("embeddings", ["node", "origin", "embedding"]):
        values = schemas.fixed_width(batch["embedding"], "embeddings", "embedding")
        vectors = np.zeros((nodes, values.shape[1]), np.float32) if vectors is None else vectors
        node = batch["node"].to_numpy()
        _check_batch("embeddings", node, values, vectors, origin)
        vectors[node] = values
        code = pc.index_in(batch["origin"], value_set=pa.array(ORIGINS, batch["origin"].type))
        if code.null_count:
            raise DataError(f"table embeddings: column origin should be one of {', '.join(ORIGINS)}")
        origin[node] = code.to_numpy()
    if vectors is None:
        raise DataError("table embeddings is empty; run train again")
    return Embeddings(vectors, origin)


def read_baseline(warehouse: Warehouse, model: str, nodes: int) -> Embeddings | None:
    """The vectors of one model of the table baseline_embeddings; None when it has none there."""
    wanted = pc.field("model") == model
    found = ds.dataset([str(path) for path in warehouse.files("baseline_embeddings")])
    schemas.check("baseline_embeddings", found.schema)
    vectors: NDArray[np.float32] | None = None
    origin = np.full(nodes, -1, np.int8)
    for batch in found.to_batches(columns=["node", "embedding"], filter=wanted, batch_size=_BATCH):
        if not len(batch):
            continue
        values = schemas.fixed_width(batch["embedding"], "baseline_embeddings", "embedding")
        vectors = np.zeros((nodes, values.shape[1]), np.float32) if vectors is None else vectors
        node = batch["node"].to_numpy()
        _check_batch("baseline_embeddings", node, values, vectors, origin)
        vectors[node], origin[node] = values, ORIGINS.index("trained")
    return None if vectors is None else Embeddings(vectors, origin)


def _check_batch(
    table: str, node: NDArray[Any], values: NDArray[Any], vectors: NDArray[Any], origin: NDArray[Any]
) -> None:
    problem = ""
    if values.shape[1] != vectors.shape[1]:
        problem = f"vectors of {vectors.shape[1]} and of {values.shape[1]} numbers"
    elif ((node < 0) | (node >= len(origin))).any():
        problem = f"node {node[(node < 0) | (node >= len(origin))][0]} is not in table nodes"
    elif (origin[node] >= 0).any() or len(np.unique(node)) < len(node):
        values_seen, count = np.unique(np.concatenate((node, node[origin[node] >= 0])), return_counts=True)
        problem = f"node {values_seen[count.argmax()]} has more than one vector"
    elif not np.isfinite(values).all():
        problem = f"the vector of node {node[~np.isfinite(values).all(axis=1)][0]} is not finite"
    if problem:
        raise DataError(f"table {table}: {problem}; run train again")
