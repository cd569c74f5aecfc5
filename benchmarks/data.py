"""The generated shop that all stages are timed on, as arrays, as raw files and as the files that peers read."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from benchmarks.measure import HERE
from vasg.demo import amazon_files, planted
from vasg.files import write_atomically
from vasg.tables import Warehouse

DIM = 4096  # of a feature
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

    @property
    def features(self) -> Path:
        """[W, 4096] float16 .npy like the demo's features, of styles that tell nothing of the purchases."""
        path = self.directory / "features.npy"
        if not path.exists():
            styles = np.random.default_rng(0).normal(size=(self.products, planted.T)).astype(np.float32)
            write_atomically(path, partial(_save_features, styles))
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
    path = directory / "pairs.npz"
    if not path.exists():
        drawn = planted.plant(0, *SIZES[size])
        product = np.unique(drawn.products, return_inverse=True)[1]
        np.savez(path, user=drawn.users, product=product)
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
