"""``python -m benchmarks.vbpr_auc ROOT [SEED ...]``: AUC of our vbpr and of Cornac's on the split of a finished run.

Warm test pairs are ranked among warm products, cold ones among cold; the interval is a paired bootstrap over users, and
products where they are cold.
Compared with Cornac as shipped and with its training repaired (see ``peers/vbpr_cornac.py``), on the run's features and,
repaired, on the components that ours learns from; and repaired with the strength of regularisation that validation pairs choose.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import measure, quality
from vasg.config import Pairwise
from vasg.features.matrix import feature_matrix
from vasg.scoring.bootstrap import mean_intervals
from vasg.scoring.inputs import Purchases, read_purchases
from vasg.training import bpr
from vasg.training.plan import interactions, validation_sample
from vasg.warehouse.tables import Warehouse

_EPOCHS = 50  # of Cornac, its default
_LIKE_CORNAC = 0.01  # its regularisation
_STRENGTHS = (0.1, 0.03, 0.003, 0.001)  # others of it
_RESAMPLES = 2000

Vectors = tuple[NDArray[Any], NDArray[Any]]  # of users [U, d] and products [P, d]


def main(root: Path, seeds: list[int]) -> None:
    """Print and keep the comparison of every model of Cornac with both of ours."""
    purchases = read_purchases(Warehouse(root))
    features, has_feature = feature_matrix(Warehouse(root), purchases.product_ids)
    pairs = np.column_stack([purchases.user, purchases.product])
    nodes = interactions(Warehouse(root))
    train = pairs[purchases.of("train")]
    results, found = [], {}
    with tempfile.TemporaryDirectory(prefix="vasg-bench-") as folder:
        for seed in seeds:
            looks = bpr.components(features, has_feature, purchases.warm, seed)
            models = dict(ours(purchases, nodes, train, features, looks, seed))
            models |= dict(cornac(purchases, train, features, looks, seed, Path(folder)))
            for name, vectors in models.items():
                for kind in ("warm", "cold"):
                    found[name, kind, seed] = quality.auc(purchases, *vectors, f"test_{kind}")
    for kind in ("warm", "cold"):
        for theirs in ("as shipped", "repaired", "repaired, our components", "repaired, chosen"):
            for mine in ("ours", "ours, like Cornac"):
                a, b = (np.mean([found[n, kind, s] for s in seeds], axis=0) for n in (mine, theirs))
                tested = purchases.of(f"test_{kind}")
                user, product = purchases.user[tested], purchases.product[tested]
                low, high = mean_intervals((a - b)[:, None], user, product, kind == "cold", _RESAMPLES, 0)[:, 0]
                difference = f"{mine} less theirs {(a - b).mean():.4f} ({low:.4f} to {high:.4f}), seeds {seeds}"
                results.append(
                    measure.compare(
                        f"vbpr, {kind}",
                        root.name,
                        f"Cornac {theirs}; {mine}",
                        "AUC",
                        1.0,
                        [1 / a.mean()],
                        [1 / b.mean()],
                        difference,
                    )
                )
    measure.save(results)


def ours(
    purchases: Purchases, nodes: tuple[NDArray[np.int64], NDArray[Any]], train: NDArray[Any], features: NDArray[Any],
    looks: NDArray[Any], seed: int,
) -> Iterator[tuple[str, Vectors]]:  # fmt: skip
    """As a run trains it; and with Cornac's regularisation and epochs on features as they are."""
    users, warm = purchases.users, purchases.warm
    sample = validation_sample(*nodes, users, warm, seed)
    held_out = bpr.Validation(sample["validation"] - [0, users], sample["candidates"] - users, sample["known"])
    yield "ours", bpr.bpr(train, users, warm, looks, held_out, Pairwise(), seed)[:2]
    plain = features.astype(np.float32)
    plain /= np.sqrt(np.square(plain[:warm]).sum(1).mean())
    model = bpr.start(users, plain, seed)
    for epoch in range(_EPOCHS):
        bpr.run_epoch(model, train, warm, epoch, _LIKE_CORNAC, seed, Event())
    yield "ours, like Cornac", model.vectors(warm)


def cornac(
    purchases: Purchases, train: NDArray[Any], features: NDArray[Any], looks: NDArray[Any], seed: int, folder: Path
) -> Iterator[tuple[str, Vectors]]:
    """Trained in its own environment."""
    sizes = {"users": purchases.users, "warm": purchases.warm}
    np.savez(folder / "pairs.npz", user=train[:, 0], product=train[:, 1], **sizes)

    def trained(inputs: NDArray[Any], how: str, *strength: float) -> Vectors:
        np.save(folder / "features.npy", inputs)
        paths, out = (folder / "pairs.npz", folder / "features.npy"), folder / "vectors.npz"
        measure.peer_report("vbpr_cornac.py", *paths, _EPOCHS, seed, how, out, *strength, environment=".venv-cornac")
        vectors = np.load(out)
        return vectors["user"], vectors["product"]

    yield "as shipped", trained(features, "shipped")
    repaired = trained(features, "repaired")
    yield "repaired", repaired
    yield "repaired, our components", trained(looks, "repaired")
    tried = {_LIKE_CORNAC: repaired} | {strength: trained(features, "repaired", strength) for strength in _STRENGTHS}
    held_out = {
        strength: quality.auc(purchases, *vectors, "validation_warm").mean() for strength, vectors in tried.items()
    }
    print(f"Cornac, AUC on validation pairs by strength: {held_out}", flush=True)
    yield "repaired, chosen", tried[max(held_out, key=lambda strength: held_out[strength])]


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(seed) for seed in sys.argv[2:]] or [0, 1, 2])
