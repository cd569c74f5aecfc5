"""A small shop for the scoring tests: random purchases and vectors, and the warehouse tables that hold them."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vasg.scoring.inputs import SPLITS, Embeddings, Purchases
from vasg.warehouse.tables import Warehouse


@dataclass
class Shop:
    """Users and products with known pairs, integer vectors (every inner product is exact) and image features."""

    purchases: Purchases
    vectors: np.ndarray  # [U + P, D] float32
    has_vector: np.ndarray  # [U + P]
    features: np.ndarray  # [P, I]
    has_feature: np.ndarray  # [P]
    origin: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def embeddings(self) -> Embeddings:
        """As the job reads them."""
        return Embeddings(self.vectors, np.where(self.has_vector, self.origin, -1).astype(np.int8))


def shop(
    seed: int = 0, users: int = 12, warm: int = 20, cold: int = 6, dim: int = 2, most: int = 8, low: int = -2, high: int = 2,
) -> Shop:  # fmt: skip
    """A shop whose splits obey the rules: every warm product has a train pair, no cold product has one.

    The last user has no train pair, unless he is alone.
    """
    rng, buyers = np.random.default_rng(seed), max(1, users - 1)
    pairs: dict[tuple[int, int], str] = {(int(rng.integers(buyers)), p): "train" for p in range(warm)}
    for user in range(users):
        for product in rng.permutation(warm + cold)[: rng.integers(0, min(most, warm + cold) + 1)]:
            kind = "warm" if product < warm else "cold"
            free = [f"test_{kind}", f"test_{kind}", f"validation_{kind}"] + (
                ["train"] if kind == "warm" and user < buyers else []
            )
            pairs.setdefault((user, int(product)), str(rng.choice(free)))
    keys = sorted(pairs)
    purchases = Purchases(
        pa.array([f"u{u}" for u in range(users)], pa.large_string()),
        pa.array([f"p{p:03d}" for p in range(warm + cold)], pa.large_string()),
        np.arange(warm + cold) >= warm,
        np.array([u for u, _ in keys], np.int64),
        np.array([p for _, p in keys], np.int64),
        rng.integers(1, 6, len(keys)).astype(np.float32),
        np.array([SPLITS.index(pairs[key]) for key in keys], np.int8),
    )
    nodes = users + warm + cold
    has_vector = rng.random(nodes) < 0.9
    has_vector[:users] = np.bincount(purchases.user[purchases.of("train")], minlength=users) > 0
    has_vector[users : users + warm] = True
    vectors = rng.integers(low, high + 1, (nodes, dim)).astype(np.float32) * has_vector[:, None]
    features = rng.standard_normal((warm + cold, 5)).astype(np.float16).astype(np.float32)
    has_feature = np.where(purchases.is_cold, has_vector[users:], rng.random(warm + cold) < 0.9)
    origin = np.r_[np.zeros(users), purchases.is_cold].astype(np.int8)
    return Shop(purchases, vectors, has_vector, features * has_feature[:, None], has_feature, origin)


def with_splits(shop: Shop, split: np.ndarray) -> Shop:
    """The same shop with other splits of its pairs."""
    return replace(shop, purchases=replace(shop.purchases, split=split.astype(np.int8)))


def tables(shop: Shop, shuffle: int = 1) -> dict[str, pa.Table]:
    """The tables that scoring reads, rows in random order; the baseline bpr has the vectors of the model."""
    bought, rng = shop.purchases, np.random.default_rng(shuffle)
    users, nodes = bought.users, bought.users + bought.products
    number = np.arange(nodes)
    node_type = np.where(number < users, "user", "product")
    kept = np.flatnonzero(shop.has_vector)
    ids = bought.user_ids.to_pylist() + bought.product_ids.to_pylist()
    result = {
        "nodes": pa.table(
            {"node": number, "node_type": node_type, "id": ids, "is_cold": np.r_[np.zeros(users, bool), bought.is_cold]}
        ),
        "interactions": pa.table({
            "user": bought.user, "product": bought.product + users, "rating": bought.rating,
            "split": pa.array([SPLITS[s] for s in bought.split], pa.string()),
        }),
        "embeddings": pa.table({
            "node": kept, "node_type": node_type[kept],
            "origin": np.array(["trained", "mapped"])[shop.origin[kept]],
            "embedding": pa.array(list(shop.vectors[kept]), pa.list_(pa.float32())),
        }),
        "baseline_embeddings": pa.table({
            "model": ["bpr"] * len(kept), "node": kept,
            "embedding": pa.array(list(shop.vectors[kept]), pa.list_(pa.float32())),
        }),
        "image_features": pa.table({
            "product_id": pa.array(np.array(bought.product_ids.to_pylist())[shop.has_feature].tolist(), pa.string()),
            "feature": pa.array(list(shop.features[shop.has_feature]), pa.list_(pa.float32())),
        }),
    }  # fmt: skip
    result["walks"] = _walks(bought)
    return {name: table.take(pa.array(rng.permutation(len(table)))) for name, table in result.items()}


def _walks(bought: Purchases, length: int = 6, each: int = 4) -> pa.Table:
    """Walks from every user with a train pair to a product of his, to a buyer of it, and so on."""
    pairs = np.column_stack([bought.user, bought.product + bought.users])[bought.of("train")]
    rng, walks = np.random.default_rng(3), []
    for user in np.repeat(np.unique(pairs[:, 0]), each):
        walk = [int(user)]
        while len(walk) < length:
            walk.append(int(rng.choice(pairs[(pairs == walk[-1]).any(1), len(walk) % 2])))
        walks.append(walk)
    return pa.table({"walk_id": np.arange(len(walks)), "walk": pa.array(walks, pa.list_(pa.int32()))})


_STAGES = {
    "filter_users": ("nodes", "interactions", "image_features"),
    "generate_walks": ("walks",),
    "train": ("embeddings", "baseline_embeddings"),
}


def publish(root: Path, content: dict[str, pa.Table], config_toml: str = "") -> Warehouse:
    """Put the tables into a warehouse, as made by their stages from those before them with this configuration."""
    warehouse = Warehouse(root)
    before: list[str] = []
    for stage, names in _STAGES.items():
        given = {name: content[name] for name in names if name in content}
        inputs = {name: warehouse.digest(name) for name in before}
        before += given
        with warehouse.publication(stage, "r0", config_toml) as publication:
            for name, table in given.items():
                publication.write_arrow(name, table)
            publication.commit("", {"inputs": inputs})
    return warehouse


def counts(shop: Shop, scores: np.ndarray, user: int, product: int, setting_only: bool) -> tuple[int, int, int]:
    """Oracle: above, tied and candidates of a test pair, one candidate after the other; NaN scores last."""
    bought = shop.purchases
    known = set(bought.product[bought.user == user].tolist())
    above = tied = candidates = 0
    for other in range(bought.products):
        if other in known or (setting_only and bought.is_cold[other] != bought.is_cold[product]):
            continue
        candidates += 1
        mine, theirs = (np.nan_to_num(scores[user, p], nan=-1e30) for p in (product, other))
        above += int(theirs > mine)
        tied += int(theirs == mine)
    return above, tied, candidates


def rows(table: pa.Table) -> list[tuple[Any, ...]]:
    """All rows in a fixed order, to compare tables."""
    return sorted(tuple(row.values()) for row in table.to_pylist())
