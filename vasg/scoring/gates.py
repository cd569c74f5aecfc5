"""Quality gates: new recommendations that fall far behind the last version are refused, and the last version stays.

The figures of each version are kept in its manifest, so the next one is compared without reading old lists. A first
version has nothing to fall behind and passes.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vasg.config import Config, Gates, to_dict
from vasg.errors import DataError
from vasg.scoring.bootstrap import FEWEST_PAIRS
from vasg.scoring.models import PUBLISHED
from vasg.warehouse.publication import Part
from vasg.warehouse.tables import Warehouse

FACT = "gates"  # the manifest's fact that holds the figures
_COMPARABLE = {  # whoever changes one of these wants other lists: they are not held against the last version
    "reviews": None, "features": None, "split": None, "score": {"top_k", "max_cold_share"},
}  # fmt: skip
_PLACES = {"path", "metadata", "weights"}  # where the data are may change every night

Figures = dict[str, Any]


def check(warehouse: Warehouse, config: Config, directory: Path, parts: Sequence[Part], metrics: pa.Table) -> Figures:
    """The figures of new recommendations, given by their files and the table metrics, for their manifest.

    Raises DataError, naming every gate that refuses and by how much.
    """
    new = figures(config, directory, parts, metrics)
    if not config.gates.enabled or not warehouse.has("recommendations"):
        return new
    last = warehouse.manifest("recommendations")["facts"].get(FACT)
    refusals = list(compare(new, last, config.gates)) if last else []
    if refusals:
        raise DataError(
            f"recommendations refused, the last version stays: {'; '.join(refusals)}. Look for what changed in the data; "
            "if this is wanted, change that limit or --set gates.enabled=false"
        )
    return new


def figures(config: Config, directory: Path, parts: Sequence[Part], metrics: pa.Table) -> Figures:
    """What the gates compare; one file is in memory at a time. Each file holds whole lists, each in the order of rank."""
    rows = cold = lists = 0
    spread, products = 0.0, pa.array([], pa.string())
    for part in parts:
        table = pq.read_table(
            directory / part.path, columns=["rank", "product_id", "score", "is_cold"], partitioning=None
        )
        score, first = table["score"].to_numpy(), np.flatnonzero(table["rank"].to_numpy() == 1)
        if len(first):
            spread += float((score[first] - score[np.append(first[1:], len(score)) - 1]).sum(dtype=np.float64))
        rows, lists, cold = rows + len(table), lists + len(first), cold + int(pc.sum(table["is_cold"]).as_py() or 0)
        products = pc.unique(pa.chunked_array([products, *table["product_id"].chunks]))
    chosen = (pc.field("model") == PUBLISHED) & (pc.field("metric") == "auc") & (pc.field("candidates") == "setting")
    auc = {
        row["setting"]: [row["value"], row["ci_low"], row["ci_high"], row["n"]]
        for row in metrics.filter(chosen).to_pylist()
    }
    return {
        "rows": rows, "products": len(products), "cold_share": cold / max(rows, 1),
        "spread": None if rows == lists > 0 else spread / max(lists, 1),  # lists of one product have none
        "auc": auc, "seed": config.seed, "basis": _basis(config),
    }  # fmt: skip


def compare(new: Figures, last: Figures, limits: Gates) -> Iterator[str]:
    """Says, for each gate that refuses, what it found and what it allows."""
    if (
        last["spread"]
        and new["spread"] is not None
        and not 1 / limits.max_spread_change <= new["spread"] / last["spread"] <= limits.max_spread_change
    ):
        yield (
            f"max_spread_change: best minus worst score of a list is {new['spread']:.3g} on average, was {last['spread']:.3g} "
            f"(at most {limits.max_spread_change:g} times more or less)"
        )
    if new["basis"] != last["basis"]:
        return
    for gate, name in (("min_rows", "rows"), ("min_coverage", "products")):
        least = getattr(limits, gate)
        if new[name] < least * last[name]:
            share = f"{new[name]:,} {name} are {new[name] / last[name]:.2f} of the last version's {last[name]:,}"
            yield f"{gate}: {share} (at least {least:g})"
    change = new["cold_share"] - last["cold_share"]
    if abs(change) > limits.max_cold_change:
        yield (
            f"max_cold_change: share of cold products {new['cold_share']:.2f}, was {last['cold_share']:.2f} "
            f"({change:+.2f}, at most {limits.max_cold_change:g} up or down)"
        )
    if new["seed"] != last["seed"]:  # which held out other pairs
        return
    for setting, (value, _, highest, pairs) in new["auc"].items():
        before, lowest, _, pairs_before = last["auc"].get(setting, (0.0, 0.0, 0.0, 0))
        if min(pairs, pairs_before) >= FEWEST_PAIRS and highest < lowest and before - value > limits.max_auc_drop:
            yield (
                f"max_auc_drop: {setting} AUC fell from {before:.4f} to {value:.4f}, by {before - value:.4f} (at most "
                f"{limits.max_auc_drop:g} where the intervals are apart, {highest:.4f} < {lowest:.4f})"
            )


def _basis(config: Config) -> str:
    values = to_dict(config)
    decisive = {
        section: {
            key: value for key, value in values[section].items() if key not in _PLACES and (keys is None or key in keys)
        }
        for section, keys in _COMPARABLE.items()
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]
