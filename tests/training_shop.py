"""A tiny shop with two tastes, laid out as the trainer reads it: no Spark, no tables."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vasg.config import Config
from vasg.config_file import from_dict
from vasg.training.plan import Plan
from vasg.training.walk_reader import FileGroup

USERS, WARM, COLD, DIM_I, LENGTH, LANES = 30, 20, 4, 12, 8, 4


def config(**train: object) -> Config:
    """A configuration for this shop; ``train`` overrides its section [train]."""
    small = {"dim": 8, "epochs": 2, "batch_walks": 40, "device": "cpu"}
    small |= {"decoder": {"hidden": [16, 16], "products_per_step": 10}, "mapping": {"steps": 8, "batch_size": 8}}
    return from_dict({"seed": 5, "train": small | train})


def plan(directory: Path, settings: Config) -> Plan:
    """Users and products of even and odd number form two groups; walks stay inside a group, pictures tell it."""
    generator = np.random.default_rng(1)
    files: list[FileGroup] = []
    for group in range(2):
        names, rows = [], 25
        for lane in range(LANES):
            walks = np.empty((2 * rows, LENGTH), np.int32)
            side = generator.integers(0, 2, 2 * rows)
            for t in range(LENGTH):
                node = generator.integers(0, (USERS if t % 2 == 0 else WARM) // 2, 2 * rows) * 2 + side
                walks[:, t] = node if t % 2 == 0 else USERS + node
            names.append(str(directory / f"walks-{group}-{lane}.parquet"))
            offsets = pa.array(np.arange(0, walks.size + 1, LENGTH, dtype=np.int32))
            column = pa.ListArray.from_arrays(offsets, pa.array(walks.reshape(-1)))
            pq.write_table(pa.table({"walk_id": np.arange(2 * rows), "walk": column}), names[-1], row_group_size=rows)
        files.append(FileGroup(tuple(names), (3, 2)))
    features = np.abs(generator.normal(size=(WARM + COLD, DIM_I)) * 0.1 + (np.arange(WARM + COLD) % 2)[:, None])
    arrays = {"features": features.astype(np.float16), "has_feature": np.arange(WARM + COLD) != 3}
    for name in ("prior", "smooth_prior"):
        arrays[name] = generator.normal(size=(USERS + WARM + COLD, settings.train.dim)).astype(np.float32) * 0.1
    arrays["pictures"] = generator.normal(size=(WARM + COLD, settings.train.dim)).astype(np.float32)
    user, product = np.meshgrid(np.arange(USERS), np.arange(WARM))
    arrays["pairs"] = np.column_stack([user[(user - product) % 2 == 0], product[(user - product) % 2 == 0]])
    arrays["degree"] = np.full(USERS + WARM, 5)
    arrays["expected_sales"] = np.full(WARM + COLD, 5, np.float32)
    arrays["validation"] = np.array([[0, USERS], [1, USERS + 1], [2, USERS + 4]])
    arrays["candidates"] = USERS + np.arange(WARM)
    arrays["known"] = arrays["candidates"] == arrays["validation"][:, 1:]
    for name, array in arrays.items():
        np.save(directory / f"{name}.npy", array)
    paths = {name: str(directory / f"{name}.npy") for name in arrays}
    output, checkpoints = directory / "output", directory / "checkpoints"
    baselines = directory / "baselines"
    for folder in (output, checkpoints, baselines):
        folder.mkdir(exist_ok=True)
    return Plan(
        settings, USERS, WARM, COLD, files, checkpoints=str(checkpoints), output=str(output),
        baselines=str(baselines), evaluated=True, **paths,
    )  # fmt: skip


def embeddings(plan: Plan) -> np.ndarray:
    """[nodes, D] what a training wrote, by node."""
    table = pq.read_table(plan.output).sort_by("node")
    assert table["node"].to_pylist() == list(range(USERS + WARM + COLD))
    return np.stack(table["embedding"].to_numpy())


def baselines(plan: Plan) -> dict[str, np.ndarray]:
    """[nodes, d] what a training wrote for each baseline, by node."""
    table = pq.read_table(plan.baselines).sort_by("node").to_pandas()
    found = {name: np.stack(rows["embedding"].to_numpy()) for name, rows in table.groupby("model")}
    assert set(found) == {"skipgram", "bpr", "vbpr"}
    return found
