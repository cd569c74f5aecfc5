"""Models over seeds: means and paired leads from the pair ranks of several warehouses."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from vasg import schemas
from vasg.config import Config
from vasg.sweep.models import compare, table
from vasg.sweep.plan import Run
from vasg.sweep.results import summarise
from vasg.sweep.results import table as table_of_curve
from vasg.warehouse.tables import Warehouse

USERS, PRODUCTS = 40, 30


def finished_run(root: Path, seed: int, gain: int, drawn_from: int | None = None) -> tuple[Run, pd.DataFrame]:
    """A warehouse whose nodes are numbered in an order of its own; vasg has ``gain`` fewer candidates above."""
    generator = np.random.default_rng(seed)
    users, products = generator.permutation(USERS), generator.permutation(PRODUCTS)
    ids = [f"u{u}" for u in users] + [f"p{p}" for p in products]
    nodes = {"node": np.arange(len(ids)), "node_type": ["user"] * USERS + ["product"] * PRODUCTS, "id": ids}
    rows = []
    for user in range(USERS):
        above, product = int(generator.integers(drawn_from or gain, 50)), int(generator.integers(PRODUCTS))
        for model, better in (("vasg", gain), ("vbpr", 0)):
            rows.append((model, "warm", "setting", user, USERS + product, above - better, 0, 100))
    ranks = pd.DataFrame(rows, columns=schemas.TABLES["pair_ranks"].arrow().names)
    with Warehouse(root).publication("score", f"run-{seed}", "") as publication:
        kind = schemas.TABLES["nodes"].arrow()
        publication.write_arrow("nodes", pa.table(nodes | {"is_cold": [False] * len(ids)}, schema=kind))
        publication.write_arrow("pair_ranks", pa.Table.from_pandas(ranks, schemas.TABLES["pair_ranks"].arrow()))
        publication.commit("", {})
    return Run(f"base/seed={seed}", root, Config(seed=seed), None), ranks


def test_the_difference_of_one_seed_is_paired(tmp_path: Path) -> None:
    rows = []
    for point, gain in (("5", 6), ("10", 2)):  # .04 apart on every pair, whose ranks scatter far more
        run, _ = finished_run(tmp_path / point, seed=0, gain=gain, drawn_from=6)
        row = {
            "key": "train.dim",
            "point": point,
            "is_base": point == "10",
            "seed": 0,
            "pairs": "test",
            "model": "vasg",
        }
        rows.append(
            row
            | {"setting": "warm", "candidates": "setting", "metric": "auc", "value": 0.5 + gain / 100, "root": run.root}
        )
    summary = summarise(pd.DataFrame(rows))
    found = summary.set_index("point").loc["5"]
    assert found[["difference", "difference_low", "difference_high"]].tolist() == pytest.approx([0.04] * 3)
    assert "over the test pairs that both have, with 95 % intervals" in table_of_curve(
        summary, "train.dim", ["5", "10"]
    )


def test_leads_are_paired_and_pooled_over_seeds(tmp_path: Path) -> None:
    runs, ranks = zip(*(finished_run(tmp_path / str(seed), seed, gain) for seed, gain in ((0, 2), (1, 6))), strict=True)
    found = compare(runs).set_index("model")
    assert list(found.index) == ["vasg", "vbpr"]  # best first
    for model in found.index:
        means = [1 - r[r["model"] == model]["above"].mean() / 100 for r in ranks]
        assert found.loc[model, "auc"] == pytest.approx(np.mean(means))
    lead = found.loc["vbpr"]
    assert lead["lead"] == pytest.approx(0.04)
    # the lead is .02 in one seed and .06 in the other for each user: far more certain than the scattered ranks themselves
    assert 0.035 < lead["ci_low"] <= 0.04 <= lead["ci_high"] < 0.045
    assert (lead["n"], lead["seeds"]) == (2 * USERS, 2)
    assert tuple(found.loc["vasg", ["lead", "ci_low", "ci_high"]]) == (0, 0, 0)
    assert "vbpr" in table(found.reset_index())
    assert "+0.0400" in table(found.reset_index())
