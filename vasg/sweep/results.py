"""What the runs of a sweep measured: one table of all of it, and the mean and band of each point of each curve."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from vasg.scoring.models import PUBLISHED
from vasg.sweep.models import difference
from vasg.sweep.plan import Plan, Run
from vasg.warehouse.tables import Warehouse

MEASURES = {  # pairs, setting, candidates -> what a picture calls the AUC
    ("validation", "warm", "sample"): "validation, warm",
    ("test", "warm", "setting"): "test, warm among warm",
    ("test", "cold", "setting"): "test, cold among cold",
    ("test", "cold", "all"): "test, cold among all",
}
COLUMNS = (
    "key", "point", "is_base", "seed", "pairs", "model", "setting", "candidates", "metric", "value", "ci_low", "ci_high",
    "n", "root",
)  # fmt: skip
SUMMARY = (
    "key", "measure", "point", "is_base", "seeds", "kind", "mean", "low", "high", "difference", "difference_low",
    "difference_high",
)  # fmt: skip
_PHASES = {"blend": PUBLISHED, "plain_skipgram": "skipgram"}  # of training_log -> model; others are named as the model
_FEW = 3  # seeds; below, Student's interval says little: two seeds have 12.7 standard errors on each side


def collect(plan: Plan, finished: Collection[Run]) -> pd.DataFrame:
    """One row for each point, seed, model, setting, candidates and metric of the finished runs.

    ``pairs`` says what was ranked: ``test`` rows are those of the table metrics, ``validation`` rows the AUC by which
    training chose its weights, on a sample of warm pairs and candidates (none with objective "paper").
    """
    measured = {run: _measured(run) for run in finished}
    parts = [
        measured[run].assign(
            key=key, point=point.label, is_base=point.is_base, seed=run.config.seed, root=str(run.root)
        )[list(COLUMNS)]
        for key, points in plan.curves.items()
        for point in points
        for run in point.runs
        if run in measured
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds and band of vasg's AUC at each point, and of its difference from the base run of the same seed.

    Columns: key, point, is_base, measure, seeds, kind, mean, low, high, and difference, difference_low, difference_high
    (NaN where no base run of these seeds has finished). Seeds differ in their splits more than most points do in
    quality: the difference leaves that out. With one seed it is over the test pairs that both have, its ends a 95 % interval.
    """
    auc = rows[(rows["model"] == PUBLISHED) & (rows["metric"] == "auc")]
    measure = pd.Series(
        list(zip(auc["pairs"], auc["setting"], auc["candidates"], strict=True)), auc.index, dtype=object
    )
    auc = auc.assign(measure=measure.map(MEASURES)).dropna(subset="measure")
    bases = auc[auc["is_base"]].set_index(["key", "measure", "seed"])
    base, root, found = bases["value"].to_dict(), bases["root"].to_dict(), []
    for names, here in auc.groupby(["key", "measure", "point", "is_base"], sort=False):
        key, name = names[0], names[1]
        seeds, values = here["seed"].to_list(), here["value"].to_numpy()
        differences = [v - base[key, name, s] for s, v in zip(seeds, values, strict=True) if (key, name, s) in base]
        changed = band(np.array(differences))
        if len(differences) == len(seeds) == 1 and not names[3] and here["pairs"].item() == "test":
            roots = Path(here["root"].item()), Path(root[key, name, seeds[0]])
            changed = difference(*roots, here["setting"].item(), here["candidates"].item())
        found.append((*names, len(seeds), kind_of_band(len(seeds)), *band(values), *changed))
    return pd.DataFrame(found, columns=list(SUMMARY))


def band(values: NDArray[Any]) -> tuple[float, float, float]:
    """Mean, and the ends of the band: Student's 95 % interval of the mean from three values on, of fewer their extremes.

    NaN for no values.
    """
    if not len(values):
        return float("nan"), float("nan"), float("nan")
    mean = float(np.mean(values))
    if len(values) < _FEW:
        return mean, float(np.min(values)), float(np.max(values))
    half = float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half


def kind_of_band(seeds: int) -> str:
    """What ``band`` gives for so many seeds, in words."""
    return "no band" if seeds == 1 else "lowest to highest" if seeds < _FEW else "95 % t-interval"


def legend(summary: pd.DataFrame) -> str:
    """What the bands of these points are."""
    kinds = summary[["kind", "seeds"]].drop_duplicates().itertuples(index=False)
    return " or ".join(f"{kind} of {seeds} seeds" if seeds > 1 else "one seed, no band" for kind, seeds in kinds)


def table(summary: pd.DataFrame, key: str, labels: list[str]) -> str:
    """The curve of a key as text: for each measure a line for each point that has results."""
    rows = summary[summary["key"] == key]
    lines = [f"{'AUC of vasg by ' + key:<40}{'mean':>6}  {'band':<15}difference from base on the same seeds"]
    for measure in MEASURES.values():
        points = rows[rows["measure"] == measure].set_index("point")
        lines += [_line(measure, label, points.loc[label]) for label in labels if label in points.index]
    pairs = (
        " Differences of one seed: over the test pairs that both have, with 95 % intervals."
        if (rows["seeds"] == 1).any()
        else ""
    )
    return "\n".join([*lines, f"Bands: {legend(rows)}.{pairs}"])


def _line(measure: str, label: str, row: Any) -> str:
    name = label + (" (base)" if row["is_base"] else "")
    several = row["seeds"] > 1
    band = f"{row['low']:.3f}-{row['high']:.3f}" if several else ""
    certain = row["difference_low"] == row["difference_high"]  # nothing to resample
    interval = "" if certain else f" ({row['difference_low']:+.4f} to {row['difference_high']:+.4f})"
    known = not (row["is_base"] or np.isnan(row["difference"]))
    difference = f"{row['difference']:+.4f}{interval}" if known else ""
    return f"{measure:<24}{name:<16}{row['mean']:>6.3f}  {band:<15}{difference}".rstrip()


def _measured(run: Run) -> pd.DataFrame:
    """The metrics of a run, and the AUC on validation pairs in the same columns."""
    warehouse = Warehouse(run.root)
    tests = warehouse.read_arrow("metrics").to_pandas().drop(columns="run_id").assign(pairs="test")
    log = warehouse.read_arrow("training_log").to_pandas()
    log = log[log["quantity"] == "validation_auc"]
    chosen = pd.DataFrame({"model": log["phase"].replace(_PHASES), "value": log["value"]})
    chosen = chosen.assign(setting="warm", candidates="sample", metric="auc", pairs="validation")
    measured: pd.DataFrame = pd.concat([tests, chosen], ignore_index=True).astype({"n": "Int64"})
    return measured
