"""``python -m vasg.demo.report --root DIR --data DIR``: the demo's results beside the best anyone could reach."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from vasg.command_line import Parser, complain
from vasg.demo.oracle import oracle_vectors
from vasg.demo.planted import Floats
from vasg.scoring.metrics import CASES
from vasg.warehouse.tables import Warehouse

_FIRST = 10  # of a list


def main(argv: Sequence[str] | None = None) -> int:
    """Print the AUC table and the lists of three users; returns the exit code."""
    parser = Parser("python -m vasg.demo.report", description=__doc__)
    parser.add_argument("--root", required=True, metavar="DIR", help="the warehouse the demo ran in")
    parser.add_argument("--data", required=True, metavar="DIR", help="where python -m vasg.demo wrote the shop")
    try:
        arguments = parser.parse_args(argv)
        warehouse, oracle = Warehouse(arguments.root), Path(arguments.data) / "oracle.npz"
        print(auc_table(warehouse, oracle))
        chance, best = hit_chance(warehouse, oracle)
        print(
            f"Chance that a user's next purchase is among the first {_FIRST} of the list: {chance:.3f}, at best {best:.3f}\n"
        )
        print(lists(warehouse))
    except Exception as error:
        return complain("vasg.demo.report", error)
    return 0


def auc_table(warehouse: Warehouse, oracle: Path) -> str:
    """AUC of every model by setting and candidates, with 95 % intervals, the oracle first."""
    metrics = warehouse.read_arrow("metrics").to_pandas()
    metrics = metrics[metrics["metric"] == "auc"]
    best = oracle_auc(warehouse, oracle)
    lines = [f"{'AUC (95 % interval)':<16}" + "".join(f"{case:>26}" for case in CASES.values())]
    lines.append(f"{'oracle':<16}" + "".join(f"{best[key]:>26.3f}" for key in CASES))
    for model in metrics["model"].unique():
        rows = metrics[metrics["model"] == model].set_index(["setting", "candidates"])
        cells = (rows.loc[key] if key in rows.index else None for key in CASES)
        texts = ("-" if c is None else f"{c.value:.3f} ({c.ci_low:.3f}-{c.ci_high:.3f})" for c in cells)
        lines.append(f"{model:<16}" + "".join(f"{text:>26}" for text in texts))
    pairs = metrics.drop_duplicates("setting").set_index("setting")["n"]
    lines.append(f"Test pairs: {dict(pairs)}.")
    return "\n".join(["", *lines, ""])


def oracle_auc(warehouse: Warehouse, oracle: Path) -> dict[tuple[str, str], float]:
    """AUC of the propensities that the purchases were drawn with, on the test pairs; the best any model can expect."""
    nodes, users, products = _oracle(warehouse, oracle)
    cold = nodes["is_cold"].to_numpy()[len(users) :]
    pairs = warehouse.read_arrow("interactions").to_pandas()
    known = pairs.groupby("user")["product"].apply(np.array)
    found: dict[tuple[str, str], list[float]] = {key: [] for key in CASES}
    tests = pairs[pairs["split"].isin(["test_warm", "test_cold"])]
    for user, product, split in tests[["user", "product", "split"]].itertuples(index=False):
        scores = products @ users[user]
        own, allowed = scores[product - len(users)], np.ones(len(scores), bool)
        allowed[known[user] - len(users)] = False
        setting = split.removeprefix("test_")
        for candidates, mask in (("all", allowed), ("setting", allowed & (cold == (setting == "cold")))):
            found[setting, candidates].append(float(np.mean((own > scores[mask]) + 0.5 * (own == scores[mask]))))
    return {key: float(np.mean(values)) if values else float("nan") for key, values in found.items()}


def hit_chance(warehouse: Warehouse, oracle: Path) -> tuple[float, float]:
    """The chance that the next purchase of a user is among the first _FIRST of the list, and of the best list there is.

    By the oracle's propensities over the products that a user has not bought yet; means over the users who have a list.
    """
    nodes, users, products = _oracle(warehouse, oracle)
    number = {kind: pd.Series(np.arange(len(ids)), ids) for kind, ids in nodes.groupby("node_type")["id"]}
    table = _first(warehouse, _FIRST)
    pairs = warehouse.read_arrow("interactions", ["user", "product"]).to_pandas()
    known = pairs.groupby("user")["product"].apply(np.array)
    found = []
    for user_id, listed in table.groupby("user_id")["product_id"]:
        user = number["user"][user_id]
        score = products @ users[user]
        share = np.exp(score - score.max())
        share[known[user] - len(users)] = 0
        best = np.partition(share, -_FIRST)[-_FIRST:]
        found.append((share[number["product"][listed]].sum() / share.sum(), best.sum() / share.sum()))
    chance, best_chance = np.mean(found, axis=0)
    return float(chance), float(best_chance)


def _oracle(warehouse: Warehouse, oracle: Path) -> tuple[pd.DataFrame, Floats, Floats]:
    """The table nodes by number, users first, and the oracle's vectors of users and products."""
    nodes = warehouse.read_arrow("nodes").to_pandas().sort_values("node")
    is_user = nodes["node_type"] == "user"
    return nodes, *oracle_vectors(oracle, nodes["id"][is_user].tolist(), nodes["id"][~is_user].tolist())


def lists(warehouse: Warehouse) -> str:
    """The first five recommendations of the first three users."""
    table = _first(warehouse, 5).sort_values(["user_id", "rank"])
    return str(table[table["user_id"].isin(table["user_id"].unique()[:3])].to_string(index=False))


def _first(warehouse: Warehouse, ranks: int) -> pd.DataFrame:
    """The first recommendations of every user."""
    table = warehouse.read_arrow("recommendations", ["user_id", "rank", "product_id", "score", "is_cold"])
    first: pd.DataFrame = table.filter(pc.field("rank") <= ranks).to_pandas()
    return first


if __name__ == "__main__":
    sys.exit(main())
