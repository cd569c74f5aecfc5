"""``python -m benchmarks.shops [NAME ...]``: is the default tuned to one kind of shop? vasg and the best baseline in many.

Each shop is generated with seed 0 and goes through ``vasg run``, configuration as generated. Figures are test AUC among
products of the pair's own kind; the lead shown is over the baseline with the best one, on the same pairs, with its
interval, those over all baselines are kept. Six of the shops had a part in choosing settings (docs/results.md).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from benchmarks import grouped, measure
from vasg.demo import amazon_files
from vasg.demo.planted import Nature
from vasg.runner import environment
from vasg.tables import Warehouse

_DIM = 256
# users, products, ratings, and what purchases depend on; a rating less a user is held out, a tenth of the products are cold
SHOPS = {
    "2 purchases a product": (1_500, 8_000, 16_000, Nature()),
    "5 a product": (2_000, 4_000, 20_000, Nature()),
    "20 a product": (4_000, 2_000, 40_000, Nature()),
    "100 a product": (6_000, 1_000, 100_000, Nature()),
    "5 a product, pictures tell nothing": (2_000, 4_000, 20_000, Nature(blur=10)),
    "40 a product, pictures tell nothing": (4_000, 1_500, 60_000, Nature(blur=10)),
    "5 a product, pictures tell little": (2_000, 4_000, 20_000, Nature(blur=1.5)),
    "5 a product, pictures tell all": (2_000, 4_000, 20_000, Nature(blur=0)),
    "5 a product, all as popular": (2_000, 4_000, 20_000, Nature(popularity=0)),
    "5 a product, steep popularity": (2_000, 4_000, 20_000, Nature(popularity=1.2)),
    "40 a product, steep popularity": (4_000, 1_500, 60_000, Nature(popularity=1.2)),
    "5 a product, weak tastes": (2_000, 4_000, 20_000, Nature(taste=0.7)),
}
GROUPED = {"10 a product, small groups": grouped.groups, "12 a product, series": grouped.series}


def main() -> None:
    """Run the shops asked for, all by default, and keep what they gave in shops.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shops", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="; ".join([*SHOPS, *GROUPED]))
    names = parser.parse_args().names or [*SHOPS, *GROUPED]
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
        if name in GROUPED:
            GROUPED[name](Path(folder))
        else:
            users, products, ratings, nature = SHOPS[name]
            amazon_files.write(Path(folder), 0, users, products, ratings, _DIM, nature)
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
