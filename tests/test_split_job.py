"""The filter_users job on published tables, and the split of real transactions."""

import csv
import json
from collections import Counter, defaultdict
from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from split_oracle import PRODUCTS, USERS, Review, features_frame, pa_table, reviews_frame, rows_of

from vasg.config import Split
from vasg.split import filter_users
from vasg.warehouse.tables import Warehouse


def publish(root: Any, reviews: list[Review], pictured: list[str]) -> Warehouse:
    warehouse = Warehouse(root)
    features = pa.table({"product_id": pictured, "feature": pa.array([[1.0]] * len(pictured), pa.list_(pa.float32()))})
    with warehouse.publication("preprocess_reviews", "test", "") as publication:
        publication.write_arrow("reviews", pa_table(reviews))
        publication.write_arrow("image_features", features)
        publication.commit("test", {})
    return warehouse


def test_job_publishes_both_tables_with_facts(tmp_path: Any, run_job: Any, capsys: pytest.CaptureFixture[str]) -> None:
    reviews = [Review(u, p, 1.0, 0) for u in USERS for p in PRODUCTS[:6]] + [Review("u9", "p0", 1.0, 0)]
    warehouse = publish(tmp_path / "root", reviews, PRODUCTS)
    config = tmp_path / "config.toml"
    config.write_text("features.source = 'pictures'\n")
    assert run_job("filter_users", config, warehouse.root, "split.min_user_products=9") == 65
    assert capsys.readouterr().err.startswith("vasg filter_users: 0 users left after dropping")
    assert not warehouse.has("nodes")
    assert run_job("filter_users", config, warehouse.root) == 0
    assert "users_dropped 1" in capsys.readouterr().out
    facts = warehouse.manifest("nodes")["facts"]
    assert facts["users"] == 8
    assert facts["warm_products"] + facts["cold_products"] == 12
    splits = Counter(warehouse.read_arrow("interactions")["split"].to_pylist())
    assert {k: v for k, v in warehouse.manifest("interactions")["facts"].items() if v} == splits
    assert splits["test_warm"] + splits["test_cold"] == splits["validation_warm"] + splits["validation_cold"] == 8
    assert (
        json.loads(next((warehouse.root / "runs").glob("*/filter_users.json")).read_text())["counts"]["pairs_dropped"]
        == 1
    )


def test_real_transactions(spark: SparkSession, data: Any) -> None:
    with (data / "hm" / "transactions.csv").open(newline="") as file:
        reviews = [
            Review(
                row["customer_id"],
                row["article_id"],
                1.0,
                int(datetime.fromisoformat(row["t_dat"] + "+00:00").timestamp()),
            )
            for row in csv.DictReader(file)
        ]
    products = sorted({r.product_id for r in reviews})
    with filter_users(reviews_frame(spark, reviews, 3), features_frame(spark, products), Split(), 0) as result:
        nodes, pairs, counts = rows_of(result)
    assert (counts["reviews"], counts["repeats_removed"]) == (31_662, 31_662 - 27_443)
    assert (counts["users"], counts["users_dropped"]) == (887, 1_364 - 887)
    assert counts["warm_products"] + counts["cold_products"] == 17_033
    assert len(pairs) == 27_443 - counts["pairs_dropped"]
    assert [n[0] for n in nodes] == list(range(887 + 17_033))
    by_user = defaultdict(Counter)
    for (user, _), (_, split) in pairs.items():
        by_user[user][split.partition("_")[0]] += 1
    assert all(c["test"] == c["validation"] == 1 and c["train"] >= 3 for c in by_user.values())
    assert len(by_user) == 887
    warm = {p for (_, p), (_, split) in pairs.items() if split == "train"}
    assert all((p in warm) == (split == "train" or split.endswith("warm")) for (_, p), (_, split) in pairs.items())
    assert {name for _, kind, name, is_cold in nodes if kind == "product" and not is_cold} == warm
