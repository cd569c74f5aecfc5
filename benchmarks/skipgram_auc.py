"""``python -m benchmarks.skipgram_auc ROOT EPOCHS``: AUC of our Skip-Gram without pictures and gensim's on a run's walks.

Ours is the baseline skipgram of the finished run under ROOT, which was trained for EPOCHS with as large a window and as
many negatives a pair as gensim has here. Both add popularity with a weight chosen on validation pairs; of gensim's
scores the best on validation pairs is taken. Test pairs, warm, with the interval of a paired bootstrap over users.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import measure, quality
from vasg.scoring.bootstrap import mean_intervals
from vasg.scoring.inputs import Purchases, read_baseline, read_purchases
from vasg.warehouse.tables import Warehouse

_POPULARITY = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0)  # weights, relative to the spread of the scores
_RESAMPLES = 2000

Vectors = tuple[NDArray[Any], NDArray[Any]]  # of users [U, d] and products [P, d]


def main(root: Path, epochs: int) -> None:
    """Print and keep the comparison."""
    warehouse = Warehouse(root)
    purchases = read_purchases(warehouse)
    nodes = purchases.users + purchases.products
    trained = read_baseline(warehouse, "skipgram", nodes)
    assert trained is not None, "the run has no baseline skipgram"
    own = trained.vectors[: purchases.users], trained.vectors[purchases.users :]
    with tempfile.TemporaryDirectory(prefix="vasg-bench-") as folder:
        theirs = max(
            candidates(purchases, *gensim(warehouse, nodes, epochs, Path(folder))),
            key=lambda vectors: float(quality.auc(purchases, vectors[0], vectors[1], "validation_warm").mean()),
        )
    a, b = (quality.auc(purchases, users, products, "test_warm") for users, products in (own, theirs))
    user, product = (of[purchases.of("test_warm")] for of in (purchases.user, purchases.product))
    low, high = mean_intervals((a - b)[:, None], user, product, False, _RESAMPLES, 0)[:, 0]
    note = f"ours less theirs {(a - b).mean():.4f} ({low:.4f} to {high:.4f}), {len(a)} test pairs"
    measure.save(
        [measure.compare("skip-gram, AUC", root.name, "gensim", "AUC", 1.0, [1 / a.mean()], [1 / b.mean()], note)]
    )


def gensim(warehouse: Warehouse, nodes: int, epochs: int, folder: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """gensim's vectors of all nodes, as centers and as contexts, from the table walks."""
    walks = warehouse.read_arrow("walks", ["walk"])["walk"]
    flat = np.concatenate([chunk.flatten().to_numpy() for chunk in walks.chunks])
    np.save(folder / "walks.npy", flat.reshape(len(walks), -1))
    measure.peer_report("skipgram_gensim.py", folder / "walks.npy", epochs, folder / "vectors.npz")
    found = np.load(folder / "vectors.npz")
    both = np.zeros((2, nodes, found["center"].shape[1]), np.float32)
    both[:, found["node"]] = found["center"], found["context"]
    return both[0], both[1]


def candidates(purchases: Purchases, center: NDArray[Any], context: NDArray[Any]) -> Iterator[Vectors]:
    """Ways to score with them: as trained, both as centers, and their cosine; each with weights of popularity."""
    users, train = purchases.users, purchases.of("train")
    popularity = np.log1p(np.bincount(purchases.product[train], minlength=purchases.products)).astype(np.float32)
    unit = center / np.maximum(np.linalg.norm(center, axis=1, keepdims=True), 1e-12)
    for user, product in (
        (center[:users], context[users:]),
        (center[:users], center[users:]),
        (unit[:users], unit[users:]),
    ):
        spread = (user[:256] @ product[: purchases.warm].T).std() / popularity[: purchases.warm].std()
        for weight in _POPULARITY:
            ones = np.ones((users, 1), np.float32)
            yield np.hstack([user, ones]), np.hstack([product, weight * spread * popularity[:, None]])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
