"""The whole pipeline as its users run it: raw files in, tables out, every promise about the tables checked from outside."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vasg.demo.report import hit_chance, oracle_auc
from vasg.pipeline.runner import HOME, environment
from vasg.warehouse.tables import Warehouse

SETTINGS = {
    "train.workers": "2", "train.epochs": "3", "train.dim": "16", "train.batch_walks": "64", "train.decoder.hidden": "[128]",
    "train.mapping.steps": "600", "score.top_k": "20", "score.bootstrap": "50", "run_date": "2025-01-31",
}  # fmt: skip


def run(shop: Path, root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vasg.cli", "run", "--config", str(shop / "config.toml"), "--root", str(root)]
    for key, value in SETTINGS.items():
        command += ["--set", f"{key}={value}"]
    return subprocess.run(command, env=environment(), cwd=HOME, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shop")
    sizes = ["--users", "500", "--products", "700", "--ratings", "10000", "--dim", "64"]
    subprocess.run([sys.executable, "-m", "vasg.demo", "--out", str(directory), *sizes], check=True, cwd=HOME)
    return directory


@pytest.fixture(scope="module")
def warehouse(shop: Path) -> Warehouse:
    done = run(shop, shop / "root")
    assert done.returncode == 0, done.stdout + done.stderr
    return Warehouse(shop / "root")


@pytest.mark.slow
def test_lists_keep_their_promises(warehouse: Warehouse) -> None:
    lists = pd.read_parquet(warehouse.path("recommendations"))
    nodes, pairs = warehouse.read_arrow("nodes").to_pandas(), warehouse.read_arrow("interactions").to_pandas()
    users = set(nodes.loc[nodes["node_type"] == "user", "id"])
    uncovered = warehouse.read_arrow("uncovered").to_pandas()
    assert set(lists["user_id"]) | set(uncovered.loc[uncovered["node_type"] == "user", "id"]) == users
    assert lists.groupby("user_id")["rank"].apply(lambda r: sorted(r) == list(range(1, 21))).all()
    ordered = lists.sort_values(["user_id", "rank"])
    assert (ordered.groupby("user_id")["score"].diff().fillna(0) <= 0).all()
    identifier = nodes.set_index("node")["id"]
    known = set(zip(identifier[pairs["user"]], identifier[pairs["product"]], strict=True))
    assert not known & set(zip(lists["user_id"], lists["product_id"], strict=True))
    assert 0 < lists["is_cold"].mean() < 0.5
    assert set(lists["run_date"].astype(str)) == {"2025-01-31"}


@pytest.mark.slow
def test_metrics_can_be_recomputed_from_the_published_vectors(warehouse: Warehouse) -> None:
    metrics = (
        warehouse.read_arrow("metrics").to_pandas().set_index(["model", "setting", "candidates", "metric"])["value"]
    )
    models = {
        "vasg",
        "skipgram",
        "bpr",
        "vbpr",
        "random",
        "most_popular",
        "item_knn",
        "wboi",
        "visual_popular",
        "image_knn",
    }
    assert set(metrics.index.droplevel("metric")) == {
        (m, s, c)
        for m in models
        for s in ("warm", "cold", "warm_few_shot", "cold_held_out")  # nothing is cold by chance here
        for c in ("all", "setting")
    }
    nodes = warehouse.read_arrow("nodes").to_pandas().sort_values("node")
    table = warehouse.read_arrow("embeddings").to_pandas().sort_values("node")
    assert len(table) == len(nodes)
    vectors, cold = np.stack(table["embedding"].to_numpy()).astype(np.float64), nodes["is_cold"].to_numpy()
    is_product = (nodes["node_type"] == "product").to_numpy()
    pairs = warehouse.read_arrow("interactions").to_pandas()
    known = pairs.groupby("user")["product"].apply(list)
    for setting in ("warm", "cold"):
        tests = pairs[pairs["split"] == f"test_{setting}"]
        for candidates in ("all", "setting"):
            allowed = is_product & ((cold == (setting == "cold")) if candidates == "setting" else True)
            values = []
            for user, product in zip(tests["user"], tests["product"], strict=True):
                mine = allowed.copy()
                mine[known[user]] = False
                scores = vectors[mine] @ vectors[user]
                own = vectors[product] @ vectors[user]
                values.append(np.mean((own > scores) + 0.5 * (own == scores)))
            assert metrics["vasg", setting, candidates, "auc"] == pytest.approx(np.mean(values), abs=1e-5)


@pytest.mark.slow
def test_learns_what_was_planted_and_no_more(warehouse: Warehouse, shop: Path) -> None:
    metrics = (
        warehouse.read_arrow("metrics").to_pandas().set_index(["model", "setting", "candidates", "metric"])["value"]
    )
    best = oracle_auc(warehouse, shop / "oracle.npz")
    for setting in ("warm", "cold"):
        oracle, found = best[setting, "setting"], metrics["vasg", setting, "setting", "auc"]
        assert found < oracle + 0.01  # better than the truth would be a leak
        assert found > 0.5 + 0.75 * (oracle - 0.5)
        assert metrics["random", setting, "setting", "auc"] == pytest.approx(0.5, abs=0.05)
    chance, best_chance = hit_chance(warehouse, shop / "oracle.npz")
    products = (warehouse.read_arrow("nodes", ["node_type"]).to_pandas()["node_type"] == "product").sum()
    assert 2 * 10 / products < chance < best_chance  # more than twice what any ten products have


@pytest.mark.fault
@pytest.mark.slow
def test_a_finished_run_has_nothing_to_do(warehouse: Warehouse, shop: Path) -> None:
    before = warehouse.catalog()
    again = run(shop, warehouse.root)
    assert again.returncode == 0
    assert again.stdout.count("up to date") == 5
    assert warehouse.catalog() == before
    latest = max((warehouse.root / "runs").glob("*/run.json"), key=lambda path: path.stat().st_mtime)
    assert [stage["status"] for stage in json.loads(latest.read_text())["stages"]] == ["up to date"] * 5
    left = [path for path in warehouse.root.rglob("*") if path.name.startswith((".", "_staged"))]
    assert left == [], "stray files"
    assert not list((warehouse.root / "checkpoints").iterdir())
