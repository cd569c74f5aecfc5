"""``python -m benchmarks.shops [NAME ...]``: is the default tuned to one kind of shop? vasg and the best baseline in many.

Each shop is generated with seed 0 and goes through ``vasg run``, configuration as generated. Figures are test AUC among
products of the pair's own kind; the lead shown is over the baseline with the best one, on the same pairs, with its
interval, those over all baselines are kept. Five of the shops had a part in choosing settings (docs/results.md).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from benchmarks import grouped, measure
from vasg.demo import amazon_files
from vasg.demo.planted import Nature
from vasg.pipeline.runner import environment
from vasg.warehouse.tables import Warehouse

_DIM = 256


def _planted(users: int, products: int, ratings: int, nature: Nature) -> Callable[[Path], object]:
    """A shop whose purchases depend on what ``nature`` says."""
    return lambda folder: amazon_files.write(folder, 0, users, products, ratings, _DIM, nature)


# what writes each shop into a folder; of each user a rating is held out, a tenth of the products are cold
SHOPS = {
    "2 purchases a product": _planted(1_500, 8_000, 16_000, Nature()),
    "5 a product": _planted(2_000, 4_000, 20_000, Nature()),
    "20 a product": _planted(4_000, 2_000, 40_000, Nature()),
    "100 a product": _planted(6_000, 1_000, 100_000, Nature()),
    "5 a product, pictures tell nothing": _planted(2_000, 4_000, 20_000, Nature(blur=10)),
    "40 a product, pictures tell nothing": _planted(4_000, 1_500, 60_000, Nature(blur=10)),
    "5 a product, pictures tell little": _planted(2_000, 4_000, 20_000, Nature(blur=1.5)),
    "5 a product, pictures tell all": _planted(2_000, 4_000, 20_000, Nature(blur=0)),
    "5 a product, all as popular": _planted(2_000, 4_000, 20_000, Nature(popularity=0)),
    "5 a product, steep popularity": _planted(2_000, 4_000, 20_000, Nature(popularity=1.2)),
    "40 a product, steep popularity": _planted(4_000, 1_500, 60_000, Nature(popularity=1.2)),
    "5 a product, weak tastes": _planted(2_000, 4_000, 20_000, Nature(taste=0.7)),
    "10 a product, small groups": grouped.groups,
    "12 a product, series": grouped.series,
}


def main() -> None:
    """Run the shops asked for, all by default, and keep what they gave in shops.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shops", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="; ".join(SHOPS))
    names = parser.parse_args().names or list(SHOPS)
    path = measure.HERE / "shops.json"
    print("| shop | vasg, best baseline, lead: warm | cold among cold |\n|---|---|---|", flush=True)
    for name in names:
        found = shop(name)
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        path.write_text(json.dumps(kept | {name: found}, indent=1) + "\n", encoding="utf-8")
        print(f"| {name} | {' | '.join(shown(found[kind]) for kind in ('warm', 'cold'))} |", flush=True)


def shop(name: str) -> dict[str, Any]:
    """Generate, run, and compare."""
    with tempfile.TemporaryDirectory(prefix="vasg-bench-") as folder:
        SHOPS[name](Path(folder))
        command = [sys.executable, "-m", "vasg.cli", "run", "--config", str(Path(folder, amazon_files.CONFIG))]
        command += ["--root", str(Path(folder, "root"))]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"vasg run ended with code {done.returncode}: {done.stderr[-2000:]}")
        metrics = Warehouse(Path(folder, "root")).read_arrow("metrics")
    own = metrics.filter(pc.equal(metrics["candidates"], "setting")).to_pylist()
    return {kind: best(own, kind) for kind in ("warm", "cold")}


def best(metrics: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """vasg on these pairs, its lead over every baseline, and which of them has the best AUC."""
    rows = [row for row in metrics if row["setting"] == kind]
    auc = {row["model"]: row["value"] for row in rows if row["metric"] == "auc"}
    leads = {row["model"]: row for row in rows if row["metric"] == "auc_lead"}
    name = max(leads, key=lambda model: auc[model])
    return {
        "best": name,
        "n": leads[name]["n"],
        "auc": {model: round(value, 4) for model, value in auc.items()},
        "lead": {model: [round(row[key], 4) for key in ("value", "ci_low", "ci_high")] for model, row in leads.items()},
    }


def shown(found: dict[str, Any]) -> str:
    """One cell."""
    lead, low, high = found["lead"][found["best"]]
    ours, theirs = found["auc"]["vasg"], found["auc"][found["best"]]
    return f"{ours:.3f}, {found['best']} {theirs:.3f}, {lead:+.4f} ({low:+.4f} to {high:+.4f})"


if __name__ == "__main__":
    main()
