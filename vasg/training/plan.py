"""Everything a worker needs to know: made by the job from the tables, carried to all workers."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vasg import randomness
from vasg.config import Config
from vasg.errors import ConfigurationError, DataError
from vasg.features.components import principal_components
from vasg.features.matrix import feature_matrix
from vasg.training.expected_sales import expected_sales
from vasg.training.visual_prior import FINE, SMOOTH, visual_prior
from vasg.training.walk_reader import FileGroup
from vasg.warehouse.files import write_atomically
from vasg.warehouse.tables import Warehouse

Log = list[tuple[str, int, str, float]]  # what a training reports: phase, epoch, quantity, value

_OF_PICTURES = ("pictures", "prior", "smooth_prior", "expected_sales")
_SAMPLE = 2000  # validation pairs, and candidates for each, at most


@dataclass(frozen=True)
class Plan:
    """Sizes, files and settings of one training. Nodes: users [0, U), warm products [U, U+W), cold [U+W, U+W+C)."""

    config: Config
    users: int  # U
    warm: int  # W
    cold: int  # C
    groups: list[FileGroup]
    features: str  # .npy [W+C, I], by product
    has_feature: str  # .npy [W+C] bool
    degree: str  # .npy [U+W] train pairs of each node
    pairs: str  # .npy [n, 2] user and product of each train pair
    pictures: str  # .npy [W+C, k] principal components of the features
    prior: str  # .npy [U+W+C, D] embeddings by pictures alone, in detail: where Skip-Gram starts
    smooth_prior: str  # the same without clusters of pictures
    expected_sales: str  # .npy [W+C] train purchases to be expected of a product by its picture
    validation: str  # .npy [n, 2] validation pairs (user, product) that weights are chosen on
    candidates: str  # .npy [m] warm products they are ranked against
    known: str  # .npy [n, m] bool: candidates the user has bought
    checkpoints: str
    output: str  # version directory of the table embeddings
    baselines: str  # that of baseline_embeddings
    evaluated: bool  # whether there are test pairs

    @property
    def products(self) -> int:
        """W + C."""
        return self.warm + self.cold

    def may_count(self, term: str) -> bool:
        """Whether a term of the score is worth its training: the configured weights want it, or validation pairs may."""
        wanted: float = getattr(self.config.train.blend, term)
        return self.config.train.objective == "sampled" and (wanted > 0 or len(np.load(self.validation)) > 0)

    def is_baseline(self, model: str) -> bool:
        """Whether ``model`` is asked for as a baseline: only an evaluation has a use for it."""
        return self.evaluated and model in self.config.train.baselines


def make_plan(warehouse: Warehouse, config: Config, fingerprint: str, output: Path, baselines: Path) -> Plan:
    """Collect a plan from the published tables; large arrays go to files under ``checkpoints/`` that all workers map."""
    directory = warehouse.root / "checkpoints" / fingerprint[:16]
    directory.mkdir(parents=True, exist_ok=True)
    nodes = warehouse.read_arrow("nodes", ["node", "node_type", "id", "is_cold"]).sort_by("node")
    is_product = np.asarray(nodes["node_type"]) == "product"
    users, cold = int((~is_product).sum()), int(np.asarray(nodes["is_cold"]).sum())
    warm = len(is_product) - users - cold
    ids = nodes["id"].combine_chunks().slice(users)
    features, has_feature = feature_matrix(warehouse, ids)
    if not features.shape[1]:  # nothing has a picture: what nobody looks at has a width all the same
        features = np.zeros((len(features), 1), np.float16)
    pairs, split = interactions(warehouse)
    train = pairs[split == "train"]
    arrays = {"features": features, "has_feature": has_feature, "pairs": train - [0, users]}
    arrays["degree"] = np.bincount(train.ravel(), minlength=users + warm)
    arrays |= validation_sample(pairs, split, users, warm, config.seed)
    files = {name: directory / f"{name}.npy" for name in (*arrays, *_OF_PICTURES)}
    for name, array in arrays.items():
        save(array, files[name])
    plan = Plan(
        config,
        users,
        warm,
        cold,
        file_groups(warehouse, config),
        checkpoints=str(directory),
        output=str(output),
        baselines=str(baselines),
        evaluated=bool(np.isin(split, ["test_warm", "test_cold"]).any()),
        **{name: str(file) for name, file in files.items()},
    )
    # training that is resumed keeps those it began with: rounded otherwise, as on another processor, the axes turn
    if not all(files[name].exists() for name in _OF_PICTURES):
        for name, array in _of_pictures(plan, features, has_feature, arrays["pairs"]).items():
            write_atomically(files[name], partial(save, array))
    return plan


def save(array: NDArray[Any], path: Path) -> None:
    """Under just this name, to which np.save would add .npy."""
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def _of_pictures(
    plan: Plan, features: NDArray[Any], has_feature: NDArray[np.bool_], pairs: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    """What pictures say in closed form: where Skip-Gram starts. The paper's objective has no use for it."""
    if plan.config.train.objective == "paper":
        return dict.fromkeys(_OF_PICTURES, np.zeros((0, 0), np.float32))
    users, warm, dim, seed = plan.users, plan.warm, plan.config.train.dim, plan.config.seed
    pictures = principal_components(features, has_feature, warm, FINE.components, seed)
    given = pictures, has_feature, pairs, users, warm
    return {
        "pictures": pictures,
        "prior": visual_prior(*given, dim, seed, FINE),
        "smooth_prior": visual_prior(*given, dim, seed, SMOOTH),
        "expected_sales": expected_sales(pictures, has_feature, np.bincount(pairs[:, 1], minlength=warm), warm),
    }


def file_groups(warehouse: Warehouse, config: Config) -> list[FileGroup]:
    """The files of the table walks as groups of one file a lane. Raises ConfigurationError when workers and lanes disagree."""
    facts: dict[str, Any] = warehouse.manifest("walks")["facts"]
    lanes, workers = int(facts["lanes"]), config.train.workers
    if lanes % workers:
        raise ConfigurationError(
            f"train.workers is {workers}, but the walks have {lanes} lanes: it must divide them evenly"
        )
    groups = []
    directory = warehouse.path("walks")
    for start_type in ("user", "product"):
        files = [
            str(directory / p.path) for p in warehouse.parts("walks") if p.path.startswith(f"start_type={start_type}/")
        ]
        for start in range(0, len(files), lanes):
            group = tuple(files[start : start + lanes])
            metadata = [pq.read_metadata(file) for file in group]
            counts = {m.num_row_groups for m in metadata}
            if len(group) < lanes or len(counts) != 1:
                raise DataError(f"table walks: {group[0]} and its lanes differ in row groups; run generate_walks again")
            sizes = [sum(m.row_group(r).num_rows for m in metadata) for r in range(counts.pop())]
            groups.append(FileGroup(group, tuple(max(1, round(size / config.train.batch_walks)) for size in sizes)))
    return groups


def interactions(warehouse: Warehouse) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Pairs [n, 2] of nodes, by user and product, and their split [n]."""
    table = warehouse.read_arrow("interactions", ["user", "product", "split"])
    pairs = np.column_stack([np.asarray(table["user"]), np.asarray(table["product"])])
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return pairs[order], np.asarray(table["split"])[order]


def validation_sample(
    pairs: NDArray[np.int64], split: NDArray[Any], users: int, warm: int, seed: int
) -> dict[str, NDArray[Any]]:
    """Some of the warm validation pairs [n, 2], candidates [m], and which of them the pair's user is known to have bought.

    ``pairs`` [N, 2] of any ``split`` [N]. Only users with a train pair count: the others have no vectors to be judged by.
    Products of test pairs stay candidates: to leave them out would be to look at the test.
    """
    validation = pairs[(split == "validation_warm") & np.isin(pairs[:, 0], pairs[split == "train", 0])]
    validation = validation[np.sort(randomness.permutation(seed, "sample", 2, len(validation))[:_SAMPLE])]
    pairs = pairs[~np.isin(split, ["test_warm", "test_cold"])]
    candidates = users + np.sort(randomness.permutation(seed, "sample", 3, warm)[:_SAMPLE])
    keys = pairs[:, 0] * (users + warm + 1) + np.minimum(pairs[:, 1], users + warm)
    wanted = validation[:, :1] * (users + warm + 1) + candidates[None, :]
    return {"validation": validation, "candidates": candidates, "known": np.isin(wanted, keys)}
