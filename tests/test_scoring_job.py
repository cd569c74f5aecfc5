"""The stage score as a whole: from published tables to published tables."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, tzinfo
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from scoring_shop import Shop, publish, rows, shop, tables, with_splits

from vasg import schemas
from vasg.config_file import load
from vasg.pipeline import stages
from vasg.scoring.inputs import SPLITS
from vasg.scoring.recommendations import NO_PLACES
from vasg.split import held_out
from vasg.warehouse.publication import CONFIG as CONFIG_FILE
from vasg.warehouse.tables import Warehouse

Run = Callable[..., int]
CONFIG = """
run_date = "2024-05-06"
[features]
source = "feature_file"
[score]
top_k = 8
metric_k = [3, 10]
bootstrap = 60
max_cold_share = 0.25
"""
TRAIN, TEST_WARM, TEST_COLD = (SPLITS.index(name) for name in ("train", "test_warm", "test_cold"))


def run_score(
    run_job: Run, root: Path, content: dict[str, pa.Table], *overrides: str, before: str = ""
) -> tuple[int, Warehouse]:
    """The job, on tables that the stages before it made with the configuration ``before``."""
    root.mkdir(exist_ok=True)
    warehouse, config = publish(root / "w", content, before), root / "c.toml"
    config.write_text(CONFIG)
    return run_job("score", config, root / "w", *overrides), warehouse


@pytest.fixture(scope="module")
def given() -> Shop:
    """Real-valued vectors with a copy; user 29 has no train pair, product 25 neither picture nor vector."""
    some = shop(8, users=30, warm=25, cold=7, dim=4, most=14)
    vectors = np.random.default_rng(8).standard_normal((62, 4)).astype(np.float32)
    vectors[30 + 5] = vectors[30 + 6]
    has_vector, has_feature = some.has_vector.copy(), some.has_feature.copy()
    has_vector[30 + 25] = has_feature[25] = False
    features = some.features * has_feature[:, None]
    return replace(
        some, has_vector=has_vector, vectors=vectors * has_vector[:, None], has_feature=has_feature, features=features
    )


@pytest.fixture(scope="module")
def scored(given: Shop, spark: object, tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """The tables after one run of the job."""
    from conftest import run_job

    root = tmp_path_factory.mktemp("scored")
    code, warehouse = run_score(run_job.__wrapped__(spark), root, tables(given))
    assert code == 0
    return warehouse


def read(warehouse: Warehouse, table: str) -> list[dict[str, object]]:
    result: list[dict[str, object]] = warehouse.read_arrow(table).to_pylist()
    return result


def test_metrics_can_be_recomputed_from_the_published_tables(scored: Warehouse) -> None:
    """Plain numpy and Python, from the tables alone: what a stranger would do."""
    nodes = {row["node"]: row for row in read(scored, "nodes")}
    vectors = {row["node"]: np.array(row["embedding"]) for row in read(scored, "embeddings")}
    pairs = read(scored, "interactions")
    metrics = {
        (row["setting"], row["candidates"], row["metric"]): row
        for row in read(scored, "metrics")
        if row["model"] == "vasg"
    }
    for setting in ("warm", "cold"):
        for candidates in ("all", "setting"):
            half, strict, hits = [], [], []
            for pair in (p for p in pairs if p["split"] == f"test_{setting}"):
                known = {p["product"] for p in pairs if p["user"] == pair["user"]}

                def score(product: object, user: object = pair["user"]) -> float:
                    return float(vectors.get(user, np.zeros(4)) @ vectors[product]) if product in vectors else -np.inf

                others = [
                    score(node) for node, row in nodes.items()
                    if row["node_type"] == "product" and node not in known
                    and (candidates == "all" or row["is_cold"] == (setting == "cold"))
                ]  # fmt: skip
                own = score(pair["product"])
                lower, equal = (
                    sum(o < own - 1e-6 for o in others),
                    sum(abs(o - own) <= 1e-6 or o == own for o in others),
                )
                half.append((lower + equal / 2) / len(others))
                strict.append(lower / len(others))
                above = len(others) - lower - equal
                hits.append(np.mean([rank <= 3 for rank in range(above + 1, above + equal + 2)]))
            assert len(half) > 5
            for name, values in (("auc", half), ("auc_strict", strict), ("recall@3", hits)):
                row = metrics[setting, candidates, name]
                assert row["value"] == pytest.approx(np.mean(values), abs=1e-5)
                assert row["n"] == len(values)
                assert row["ci_low"] <= row["value"] <= row["ci_high"]


def test_all_models_are_measured_in_both_settings_and_candidate_sets(scored: Warehouse) -> None:
    found = {(r["model"], r["setting"], r["candidates"]) for r in read(scored, "metrics")}
    models = ("vasg", "bpr", "random", "most_popular", "item_knn", "wboi", "visual_popular", "image_knn")
    settings = ("warm", "cold", "warm_few_shot", "cold_natural")  # nothing is held out on purpose here
    assert found == {(m, s, c) for m in models for s in settings for c in ("all", "setting")}
    popular = [r for r in read(scored, "metrics") if (r["model"], r["setting"]) == ("most_popular", "cold")]
    auc = {r["candidates"]: r["value"] for r in popular if r["metric"] == "auc"}
    values: dict[str, list[float]] = {"vasg": [], "bpr": []}
    for row in read(scored, "metrics"):
        if row["metric"] != "auc_lead":
            values.get(row["model"], []).append(row["value"])
        elif row["model"] == "bpr":
            assert (row["value"], row["ci_low"], row["ci_high"]) == (0, 0, 0)
    assert values["bpr"] == values["vasg"]  # the same vectors under another name
    assert auc["setting"] == 0.5  # nobody bought any of them: all tie
    assert auc["all"] < 0.2


def test_products_are_held_out_as_the_split_drew_them(
    given: Shop, run_job: Run, spark: SparkSession, tmp_path: Path
) -> None:
    """Whatever seed and share the run of score has."""
    before = "seed = 3\n[split]\nholdout_cold_fraction = 0.5\n"
    code, warehouse = run_score(run_job, tmp_path, tables(given), "seed=4", before=before)
    assert code == 0
    ids = given.purchases.product_ids.to_pylist()
    drawn = {
        row.product_id for row in held_out(spark.createDataFrame([(i,) for i in ids], ["product_id"]), 3, 0.5).collect()
    }
    tested = given.purchases.product[given.purchases.split == TEST_COLD]
    expected = Counter("cold_held_out" if ids[product] in drawn else "cold_natural" for product in tested)
    assert len(expected) == 2
    found = {r["setting"]: r["n"] for r in read(warehouse, "metrics") if (r["model"], r["metric"]) == ("vasg", "auc")}
    assert {setting: found[setting] for setting in expected} == expected


def test_recommendations_keep_their_promises(given: Shop, scored: Warehouse) -> None:
    bought, lists = given.purchases, {}
    for row in read(scored, "recommendations"):
        lists.setdefault(row["user_id"], []).append(row)
    known = set(zip(bought.user.tolist(), bought.product.tolist(), strict=True))
    users, products = np.split(given.vectors, [30])
    assert len(lists) > 20
    for user_id, rows_of_user in lists.items():
        user = int(str(user_id)[1:])
        ranked = [int(str(row["product_id"])[1:]) for row in rows_of_user]
        assert [row["rank"] for row in rows_of_user] == list(range(1, len(ranked) + 1))
        assert len(set(ranked)) == len(ranked)
        assert not known & {(user, product) for product in ranked}
        assert [row["is_cold"] for row in rows_of_user] == [product >= 25 for product in ranked]
        assert sum(product >= 25 for product in ranked) <= 2  # a quarter of 8
        scores = np.array([row["score"] for row in rows_of_user])
        np.testing.assert_allclose(scores, products[ranked] @ users[user], atol=1e-5)
        assert (np.diff(scores) <= 0).all()
        candidates = [p for p in range(25) if (user, p) not in known]
        assert len(ranked) >= min(8, len(candidates))
        worst = scores.min()
        left = [p for p in candidates if p not in ranked and products[p] @ users[user] > worst + 1e-5]
        assert not left or len(ranked) < 8
    assert any(row["is_cold"] for rows_of_user in lists.values() for row in rows_of_user)


@pytest.mark.fault
def test_everybody_is_covered_or_listed(given: Shop, scored: Warehouse) -> None:
    uncovered = {(r["node_type"], r["id"]): r["reason"] for r in read(scored, "uncovered")}
    served = {r["user_id"] for r in read(scored, "recommendations")}
    users = set(given.purchases.user_ids.to_pylist())
    assert served | {id for kind, id in uncovered if kind == "user"} == users
    assert not served & {id for kind, id in uncovered if kind == "user"}
    assert uncovered["user", "u29"] == "no purchase in the training data"
    assert uncovered["product", "p025"] == "no purchase in the training data and no usable picture"
    without = {f"p{p:03d}" for p in range(32) if not given.has_vector[30 + p]}
    assert {id for kind, id in uncovered if kind == "product"} == without


def test_layout_and_schemas(scored: Warehouse) -> None:
    for table in ("pair_ranks", "metrics", "recommendations", "uncovered"):
        for path in scored.files(table):
            schemas.check(table, pq.ParquetFile(path).schema_arrow)
    assert {path.parent.name for path in scored.files("recommendations")} == {"run_date=2024-05-06"}
    ranks = Counter(r["model"] for r in read(scored, "pair_ranks"))
    assert len(set(ranks.values())) == 1
    counts = scored.catalog()["stages"]["score"]["counts"]
    assert counts["test_pairs"] * 2 == ranks["vasg"]
    auc = [r["value"] for r in read(scored, "metrics") if (r["model"], r["metric"], r["setting"], r["candidates"])
           == ("vasg", "auc", "warm", "setting")]  # fmt: skip
    assert counts["warm_auc"] == round(float(str(auc[0])), 4)
    assert "visual_popular_weight" in counts


def test_the_order_of_the_input_rows_does_not_matter(
    given: Shop, scored: Warehouse, run_job: Run, tmp_path: Path
) -> None:
    code, again = run_score(run_job, tmp_path, tables(given, shuffle=99))
    assert code == 0
    for table in ("pair_ranks", "metrics", "recommendations", "uncovered"):
        one, two = (w.read_arrow(table) for w in (scored, again))
        drop = [name for name in ("run_id",) if name in one.column_names]
        assert rows(one.drop(drop)) == rows(two.drop(drop))


def test_the_nightly_run_has_no_metrics_but_recommendations(given: Shop, run_job: Run, tmp_path: Path) -> None:
    warm = ~given.purchases.is_cold[given.purchases.product]
    only = replace(given.purchases, **{
        name: getattr(given.purchases, name)[warm] for name in ("user", "product", "rating", "split")
    })  # fmt: skip
    nightly = with_splits(replace(given, purchases=only), np.full(warm.sum(), TRAIN))
    code, warehouse = run_score(run_job, tmp_path, tables(nightly), "score.max_cold_share=0")
    assert code == 0
    assert read(warehouse, "metrics") == read(warehouse, "pair_ranks") == []
    assert not any(r["is_cold"] for r in read(warehouse, "recommendations"))
    kept_out = [r["id"] for r in read(warehouse, "uncovered") if r["reason"] == NO_PLACES]
    assert kept_out == [f"p{p:03d}" for p in range(25, 32) if given.has_vector[30 + p]]
    assert len({r["user_id"] for r in read(warehouse, "recommendations")}) > 20


def test_a_job_that_crosses_midnight_publishes_the_day_that_its_fingerprint_says(
    given: Shop, run_job: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = iter(range(1, 29))

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime(2025, 1, next(days), tzinfo=tz)

    monkeypatch.setattr(stages, "datetime", Clock)
    code, warehouse = run_score(run_job, tmp_path, tables(given), "run_date=", "score.baselines=[]")
    assert code == 0
    assert {path.parent.name for path in warehouse.files("recommendations")} == {"run_date=2025-01-01"}
    config = load(tmp_path / "c.toml", ["run_date=2025-01-01", "score.baselines=[]"])
    assert stages.is_up_to_date(stages.stage(config, "score"), config, warehouse)
    kept = load(warehouse.path("recommendations") / CONFIG_FILE)
    assert kept.run_date == "", "kept as it was given: who runs it again wants lists of that day"


def test_no_pictures_at_all(given: Shop, run_job: Run, tmp_path: Path) -> None:
    blind = replace(given, has_feature=np.zeros(32, bool))
    code, warehouse = run_score(run_job, tmp_path, tables(blind))
    assert code == 0
    assert {r["model"] for r in read(warehouse, "metrics")} == {"vasg", "bpr", "random", "most_popular", "item_knn"}
    assert "left out" in warehouse.catalog()["stages"]["score"]["counts"]["baselines_without_pictures"]
