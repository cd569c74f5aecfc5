"""All models on the base configuration, over its seeds: mean AUC, and how far vasg leads, pair by pair."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from numpy.typing import NDArray

from vasg.scoring.bootstrap import FEWEST_PAIRS, mean_intervals
from vasg.scoring.metrics import CASES, auc
from vasg.scoring.models import PUBLISHED
from vasg.sweep.plan import Run
from vasg.warehouse.tables import Warehouse

_RESAMPLES = 1000


def compare(runs: Sequence[Run]) -> pd.DataFrame:
    """Rows of setting, candidates, model, seeds, n, auc, lead, ci_low, ci_high; best model first.

    ``auc`` is the mean over the test pairs of all seeds, ``lead`` vasg's less the model's; its 95 % interval resamples users,
    and for cold pairs products too, so that somebody who is in the test set of each seed counts as one.
    """
    pairs = pd.concat([_pairs(run.root).assign(seed=run.config.seed) for run in runs], ignore_index=True)
    found = []
    for setting, candidates in CASES:
        case = pairs[(pairs["setting"] == setting) & (pairs["candidates"] == candidates)]
        wide = case.pivot_table(
            index=["user", "product", "seed"], columns="model", values="auc", observed=True
        ).dropna()
        if PUBLISHED not in wide.columns:
            continue
        leads = wide[[PUBLISHED]].to_numpy() - wide.to_numpy()
        low, high = _interval(leads, wide.index, setting)
        rows = zip(wide.columns, wide.mean(), leads.mean(0), low, high, strict=True)
        names = (setting, candidates, len(wide.index.unique("seed")), len(wide))
        found += [(*names, *row) for row in sorted(rows, key=lambda row: -row[1])]
    columns = ["setting", "candidates", "seeds", "n", "model", "auc", "lead", "ci_low", "ci_high"]
    return pd.DataFrame(found, columns=columns)


def difference(one: Path, other: Path, setting: str, candidates: str) -> tuple[float, float, float]:
    """vasg's AUC in warehouse ``one`` less that in ``other``, with its 95 % interval, on the test pairs that both have.

    NaN where they share none.
    """
    pairs = pd.concat({0: _pairs(one), 1: _pairs(other)}, names=["root"])
    chosen = (pairs["setting"] == setting) & (pairs["candidates"] == candidates) & (pairs["model"] == PUBLISHED)
    wide = pairs[chosen].pivot_table(index=["user", "product"], columns="root", values="auc").dropna()
    if wide.shape[1] < 2 or wide.empty:
        return float("nan"), float("nan"), float("nan")
    change = (wide[0] - wide[1]).to_numpy()
    low, high = _interval(change[:, None], wide.index, setting)
    return float(change.mean()), float(low[0]), float(high[0])


def _interval(values: NDArray[Any], pairs: "pd.Index[Any]", setting: str) -> NDArray[np.float64]:
    """[2, A] ends for the means of values [n, A] of test pairs."""
    user, product = (pd.factorize(pairs.get_level_values(level))[0] for level in ("user", "product"))
    return mean_intervals(values, user, product, setting == "cold", _RESAMPLES, seed=0)


def _pairs(root: Path) -> pd.DataFrame:
    """The AUC of each model on each test pair of a run, by the ids of user and product, which all seeds share."""
    warehouse = Warehouse(root)
    nodes = warehouse.read_arrow("nodes", ["node", "id"]).sort_by("node")["id"].to_numpy()
    ranks = warehouse.read_arrow("pair_ranks")
    ranks = ranks.filter(pc.field("candidate_count") > 0).to_pandas()
    ranks["auc"], _ = auc(ranks["above"].to_numpy(), ranks["tied"].to_numpy(), ranks["candidate_count"].to_numpy())
    ranks["user"], ranks["product"] = nodes[ranks["user"]], nodes[ranks["product"]]
    found: pd.DataFrame = ranks[["model", "setting", "candidates", "user", "product", "auc"]]
    return found


def table(comparison: pd.DataFrame) -> str:
    """The comparison as text."""
    lines = []
    for (setting, candidates), rows in comparison.groupby(["setting", "candidates"], sort=False):
        among = "all" if candidates == "all" else setting
        first = rows.iloc[0]
        enough = int(first["n"]) >= FEWEST_PAIRS
        lines += ["", f"{setting} among {among}, {first['n']} pairs of {first['seeds']} seeds"]
        lines += [f"{'model':<16}{'mean AUC':>9}{'lead of vasg (95 % interval)':>34}"]
        for row in rows.itertuples(index=False):
            interval = f" ({row.ci_low:+.4f} to {row.ci_high:+.4f})" if enough else ""
            lead = "" if row.model == PUBLISHED else f"{row.lead:+.4f}{interval}"
            lines.append(f"{row.model:<16}{row.auc:>9.4f}{lead:>34}".rstrip())
    return "\n".join(lines)
