"""The generated shop that all stages are timed on, as arrays, as raw files and as the files that peers read."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from benchmarks.measure import HERE
from vasg.demo import amazon_files, planted
from vasg.warehouse.files import write_atomically
from vasg.warehouse.tables import Warehouse

DIM = 4096  # of a feature
SIZES = {"small": (2_000, 3_000, 40_000), "women": (14_110, 116_971, 307_863), "large": (100_000, 300_000, 3_000_000)}


@dataclass(frozen=True)
class Shop:
    """Pairs of user and product; only products that were bought are there, numbered from 0."""

    name: str
    user: NDArray[np.int64]
    product: NDArray[np.int64]
    styles: NDArray[np.float32]  # [W, T] of the products
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

    @property
    def features(self) -> Path:
        """[W, 4096] float16 .npy, the demo's features of the products' styles."""
        path = self.directory / "features.npy"
        if not path.exists():
            write_atomically(path, partial(_save_features, self.styles))
        return path

    @property
    def raw(self) -> Path:
        """The folder with the shop in Amazon's raw formats: reviews, metadata, feature file, configuration."""
        folder = self.directory / "raw"
        if not (folder / amazon_files.CONFIG).exists():
            amazon_files.write(folder, 0, *SIZES[self.name], DIM)
        return folder

    @property
    def pictures(self) -> Path:
        """A folder of JPEG files of 400 x 500 pixels, a fiftieth as many as products and at least 500."""
        folder = self.directory / "pictures"
        for number in range(max(500, self.products // 50)):
            path = folder / f"P{number:06d}.jpg"
            if not path.exists():
                folder.mkdir(exist_ok=True)
                write_atomically(path, partial(_save_picture, number))
        return folder


def _save_features(styles: NDArray[np.float32], path: Path) -> None:
    rows = np.lib.format.open_memmap(path, "w+", np.float16, (len(styles), DIM))
    begin = 0
    for block in planted.features(0, styles, DIM):
        rows[begin : begin + len(block)] = block
        begin += len(block)
    rows.flush()


def _save_picture(number: int, path: Path) -> None:
    """Soft blotches with a little noise: about as many bytes as a photograph of a product."""
    generator = np.random.default_rng(number)
    blotches = Image.fromarray(generator.integers(0, 256, (10, 8, 3), np.uint8)).resize(
        (400, 500), Image.Resampling.BICUBIC
    )
    noisy = np.asarray(blotches) + generator.normal(0, 6, (500, 400, 1))
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, "JPEG", quality=85)


def shop(size: str) -> Shop:
    """Generate the shop once; the seed is 0."""
    directory = HERE / ".data" / size
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "shop.npz"
    if not path.exists():
        drawn = planted.plant(0, *SIZES[size])
        bought, product = np.unique(drawn.products, return_inverse=True)
        np.savez_compressed(path, user=drawn.users, product=product, styles=drawn.styles[bought])
    kept = np.load(path)
    return Shop(size, kept["user"].astype(np.int64), kept["product"].astype(np.int64), kept["styles"], directory)


def publish(shop: Shop, root: Path) -> Warehouse:
    """A warehouse with the tables nodes and interactions, every pair in train."""
    ids = np.concatenate([np.arange(shop.users), np.arange(shop.products)])
    return publish_pairs(root, shop.users, shop.user, shop.product, np.full(len(shop.user), "train"), ids, 0)


def publish_pairs(
    root: Path, users: int, user: NDArray[Any], product: NDArray[Any], split: NDArray[Any], ids: NDArray[Any], cold: int
) -> Warehouse:
    """The same of pairs of user and product (from 0) in their ``split``; ``ids`` of all nodes, the last ``cold`` are cold."""
    warehouse, nodes = Warehouse(root), np.arange(len(ids))
    kinds = {"node": nodes, "node_type": np.where(nodes < users, "user", "product"), "id": ids.astype(str)}
    pairs = {"user": user, "product": product + users}
    more = {"rating": np.ones(len(user), np.float32), "split": split}
    with warehouse.publication("filter_users", "bench", "") as publication:
        publication.write_arrow("nodes", pa.table(kinds | {"is_cold": nodes >= len(ids) - cold}))
        publication.write_arrow("interactions", pa.table(pairs | more))
        publication.commit("", {})
    return warehouse
