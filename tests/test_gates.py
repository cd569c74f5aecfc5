"""Quality gates: a sane night passes, lists that fall behind are refused and say why, and training is never at stake."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoring_shop import Shop, publish, shop, tables

from vasg.config import Gates
from vasg.config_file import from_dict
from vasg.pipeline.stages import stages
from vasg.scoring.gates import FACT, compare
from vasg.warehouse.tables import Warehouse

CONFIG = "run_date = '2024-05-06'\n[features]\nsource = 'feature_file'\n[score]\ntop_k = 10\nbootstrap = 20\nmetric_k = [5]\n"
SANE = {
    "rows": 1000, "products": 300, "cold_share": 0.1, "spread": 2.0, "basis": "same", "seed": 0,
    "auc": {"warm": [0.80, 0.79, 0.81, 500], "cold": [0.70, 0.68, 0.72, 500]},
}  # fmt: skip

pytestmark = pytest.mark.fault


def refused(limits: Gates = Gates(), **change: Any) -> list[str]:  # noqa: B008  # frozen
    return [text.partition(":")[0] for text in compare(SANE | change, SANE, limits)]


@pytest.mark.parametrize(
    ("gate", "change"),
    [
        ("min_rows", {"rows": 699}),
        ("min_coverage", {"products": 149}),
        ("max_cold_change", {"cold_share": 0.36}),
        ("max_spread_change", {"spread": 0.0}),
        ("max_spread_change", {"spread": 201.0}),
        ("max_auc_drop", {"auc": {"warm": [0.77, 0.76, 0.78, 500]}}),
    ],
)
def test_each_gate_refuses_alone(gate: str, change: dict[str, Any]) -> None:
    assert refused(**change) == [gate]
    lenient = {
        "min_rows": 0.0, "min_coverage": 0.0, "max_cold_change": 1.0, "max_auc_drop": 1.0, "max_spread_change": 1e9,
    }  # fmt: skip
    if change != {"spread": 0.0}:  # equal scores are an infinite change
        assert refused(replace(Gates(), **{gate: lenient[gate]}), **change) == []


def test_an_auc_below_the_last_one_passes_where_it_can_be_chance() -> None:
    assert refused(auc={"warm": [0.77, 0.75, 0.795, 500]}) == []  # the intervals meet
    assert refused(auc={"warm": [0.785, 0.784, 0.786, 500]}) == []  # apart, but a small drop
    assert refused(auc={"warm": [0.5, 0.5, 0.5, 29]}) == []  # too few pairs to know
    assert refused(auc={}) == []  # the nightly run measures nothing


def test_other_settings_of_the_data_are_not_held_against_the_last_version() -> None:
    assert refused(rows=1, products=1, cold_share=0.9, basis="other") == []
    assert refused(spread=0.0, basis="other") == ["max_spread_change"]
    assert refused(spread=0.0, rows=0, basis="other") == ["max_spread_change"]  # no list at all
    assert refused(spread=None) == []  # lists of one product


def test_auc_is_not_held_against_that_of_other_pairs() -> None:
    worse = {"auc": {"warm": [0.77, 0.76, 0.78, 500]}}
    assert refused(**worse, seed=1) == []
    assert refused(**worse, seed=1, rows=699) == ["min_rows"]


SHARE = st.floats(0, 1)
AUC = st.tuples(st.lists(SHARE, min_size=3, max_size=3).map(sorted), st.integers(0, 999)).map(
    lambda drawn: [drawn[0][1], drawn[0][0], drawn[0][2], drawn[1]]
)
FIGURES = st.fixed_dictionaries({
    "rows": st.integers(0, 10**9), "products": st.integers(0, 10**6), "cold_share": SHARE, "spread": st.floats(0, 1e6),
    "basis": st.just("same"), "seed": st.just(0), "auc": st.dictionaries(st.sampled_from(["warm", "cold"]), AUC),
})  # fmt: skip


@given(FIGURES)
def test_the_same_lists_again_always_pass(figures: dict[str, Any]) -> None:
    assert list(compare(figures, figures, Gates())) == []


def test_gates_decide_no_stage() -> None:
    config = from_dict({"features": {"source": "pictures"}})
    assert all("gates" not in stage.sections for stage in stages(config))


# ---- in the job ----


@pytest.fixture(scope="module")
def sane() -> Shop:
    """Users with tastes of their own."""
    some = shop(5, users=60, warm=150, cold=20, dim=6, most=10)
    vectors = np.random.default_rng(5).standard_normal((230, 6)).astype(np.float32)
    return replace(some, vectors=vectors * some.has_vector[:, None])


def same_list_for_all(given: Shop) -> Shop:
    vectors = given.vectors.copy()
    vectors[:60] = vectors[0]
    return replace(given, vectors=vectors * given.has_vector[:, None])


def same_score_for_all(given: Shop) -> Shop:
    vectors = given.vectors.copy()
    vectors[60:] = vectors[60]
    return replace(given, vectors=vectors * given.has_vector[:, None])


def half_the_users(given: Shop) -> Shop:
    has_vector = given.has_vector.copy()
    has_vector[:30] = False
    return replace(given, has_vector=has_vector, vectors=given.vectors * has_vector[:, None])


@pytest.mark.parametrize(
    ("broken", "gates"),
    [
        (same_list_for_all, {"min_coverage"}),
        (same_score_for_all, {"max_spread_change"}),
        (half_the_users, {"min_rows"}),
    ],
)
def test_a_broken_model_is_refused_and_the_last_version_stays(
    sane: Shop, broken: Callable[[Shop], Shop], gates: set[str], run_job: Callable[..., int], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    config, root = tmp_path / "c.toml", tmp_path / "w"
    config.write_text(CONFIG)
    warehouse = publish(root, tables(sane))
    assert run_job("score", config, root) == 0
    check_figures(warehouse)
    publish(root, tables(sane, shuffle=2))
    assert run_job("score", config, root, "run_date=2024-05-07") == 0  # the next night

    before = warehouse.catalog()["tables"]["recommendations"]
    publish(root, tables(broken(sane)))
    capsys.readouterr()
    assert run_job("score", config, root) == 65
    line = capsys.readouterr().err
    assert line.startswith("vasg score: recommendations refused, the last version stays: ")
    assert gates <= {gate for gate in Gates.__dataclass_fields__ if f"{gate}: " in line}
    assert len(line.splitlines()) == 1
    assert warehouse.catalog()["tables"]["recommendations"] == before
    assert run_job("score", config, root, "gates.enabled=false") == 0
    assert warehouse.catalog()["tables"]["recommendations"] != before


def check_figures(warehouse: Warehouse) -> None:
    """The figures in the manifest, recomputed by pandas from the published lists."""
    lists = pd.read_parquet(warehouse.path("recommendations"))
    found = warehouse.manifest("recommendations")["facts"][FACT]
    assert (found["rows"], found["products"]) == (len(lists), lists["product_id"].nunique())
    assert found["cold_share"] == pytest.approx(lists["is_cold"].mean())
    best_and_worst = lists.groupby("user_id")["score"].agg(["max", "min"])
    assert found["spread"] == pytest.approx((best_and_worst["max"] - best_and_worst["min"]).mean(), rel=1e-5)
    metrics = warehouse.read_arrow("metrics").to_pandas().set_index(["model", "setting", "candidates", "metric"])
    for setting, figures in found["auc"].items():
        row = metrics.loc[("vasg", setting, "setting", "auc")]
        assert figures == row[["value", "ci_low", "ci_high", "n"]].tolist()
