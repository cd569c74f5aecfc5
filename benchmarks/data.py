"""The generated shop that all stages are timed on, as arrays and as the files that peers read."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.measure import HERE
from vasg.demo.planted import plant
from vasg.tables import Warehouse

SIZES = {"small": (2_000, 3_000, 40_000), "women": (14_110, 116_971, 307_863), "large": (100_000, 300_000, 3_000_000)}


@dataclass(frozen=True)
class Shop:
    """Pairs of user and product; only products that were bought are there, numbered from 0."""

    name: str
    user: NDArray[np.int64]
    product: NDArray[np.int64]
    directory: Path

    @property
    def users(self) -> int:
        """U."""
        return int(self.user.max()) + 1

    @property
    def products(self) -> int:
        """W."""
        return int(self.product.max()) + 1

    def graph(self) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
        """The network as compressed rows: where each node's neighbours begin [U + W + 1], and the neighbours."""
        ends = np.concatenate([self.user, self.product + self.users])
        others = np.concatenate([self.product + self.users, self.user])
        starts = np.concatenate(([0], np.cumsum(np.bincount(ends, minlength=self.users + self.products))))
        return starts.astype(np.uint32), others[np.argsort(ends, kind="stable")].astype(np.int32)

    @property
    def edges(self) -> Path:
        """Tab-separated edges, products numbered after users."""
        path = self.directory / "edges.tsv"
        if not path.exists():
            np.savetxt(path, np.column_stack([self.user, self.product + self.users]), fmt="%d", delimiter="\t")
        return path


def shop(size: str) -> Shop:
    """Generate the shop once; the seed is 0."""
    directory = HERE / ".data" / size
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "pairs.npz"
    if not path.exists():
        planted = plant(0, *SIZES[size])
        product = np.unique(planted.products, return_inverse=True)[1]
        np.savez(path, user=planted.users, product=product)
    pairs = np.load(path)
    return Shop(size, pairs["user"].astype(np.int64), pairs["product"].astype(np.int64), directory)


def publish(shop: Shop, root: Path) -> Warehouse:
    """A warehouse with the tables nodes and interactions, every pair in train."""
    warehouse, nodes = Warehouse(root), np.arange(shop.users + shop.products)
    is_user = nodes < shop.users
    kinds = {"node": nodes, "node_type": np.where(is_user, "user", "product"), "id": nodes.astype(str)}
    pairs = {"user": shop.user, "product": shop.product + shop.users}
    more = {"rating": np.ones(len(shop.user), np.float32), "split": np.full(len(shop.user), "train")}
    with warehouse.publication("filter_users", "bench", "") as publication:
        publication.write_arrow("nodes", pa.table(kinds | {"is_cold": np.zeros(len(nodes), bool)}))
        publication.write_arrow("interactions", pa.table(pairs | more))
        publication.commit("", {})
    return warehouse
