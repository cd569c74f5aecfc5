"""filter_users against a slow oracle in plain Python, on generated reviews."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from split_oracle import PRODUCTS, USERS, Review, features_frame, oracle, reviews_frame, rows_of

from vasg.config import Split
from vasg.errors import DataError
from vasg.nodes import numbered
from vasg.split import assign_parts, filter_users, held_out


@pytest.fixture(scope="module", autouse=True)
def several_partitions(spark: SparkSession) -> Iterator[None]:
    """Small tables stay in as many partitions as they are given, as large ones do."""
    small = {"spark.sql.adaptive.coalescePartitions.enabled": "false", "spark.sql.shuffle.partitions": "2"}
    before = {name: spark.conf.get(name) for name in small}
    for name, value in small.items():
        spark.conf.set(name, value)
    yield
    for name, value in before.items():
        spark.conf.set(name, value)


@pytest.fixture(scope="module")
def keys(spark: SparkSession) -> dict[str, int]:
    frame = spark.createDataFrame([(i,) for i in USERS + PRODUCTS], "id string")
    return dict(frame.select("id", F.xxhash64("id")).collect())


cases = st.fixed_dictionaries({
    "reviews": st.lists(
        st.builds(Review, st.sampled_from(USERS), st.sampled_from(PRODUCTS), st.sampled_from([1.0, 4.5, 5.0]), st.integers(0, 9)),
        min_size=60, max_size=90,
    ),
    "pictured": st.lists(st.sampled_from([*PRODUCTS, "only a picture"]), unique=True, min_size=6),
    "partitions": st.sampled_from([1, 4]),
    "seed": st.integers(0, 2**63 - 1),
    "options": st.fixed_dictionaries({
        "min_user_products": st.integers(1, 6),
        "missing_features": st.sampled_from(["keep", "drop"]),
        "catalogue": st.sampled_from(["all", "bought"]),
        "validation": st.booleans(),
        "test_fraction": st.sampled_from([0.2, 0.45]),
        "holdout_cold_fraction": st.sampled_from([0.0, 0.15, 0.4]),
    }),
})  # fmt: skip


@pytest.mark.fault
@pytest.mark.parametrize("method", ["leave_one_out", "time", "none"])
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(case=cases)
def test_equals_the_slow_way(spark: SparkSession, keys: dict[str, int], method: Any, case: dict[str, Any]) -> None:
    config = Split(method=method, **case["options"])
    expected = oracle(case["reviews"], case["pictured"], config, case["seed"], keys)
    frame = reviews_frame(spark, case["reviews"], case["partitions"])
    features = features_frame(spark, case["pictured"])
    problem = expected_problem(expected, config)
    if problem:
        with pytest.raises(DataError, match=problem), filter_users(frame, features, config, case["seed"]):
            pass
        return
    with filter_users(frame, features, config, case["seed"]) as result:
        assert rows_of(result) == expected
        assert result.nodes_facts == {k: expected[2][k] for k in ("users", "warm_products", "cold_products")}
        assert sum(result.interactions_facts.values()) == len(expected[1])


def expected_problem(expected: Any, config: Split) -> str:
    if expected is None:
        return "0 users left"
    splits = {name for _, name in expected[1].values()}
    if "train" not in splits:
        return "leaves 0 of 0 pairs" if config.method == "time" else "0 pairs left to train on"
    return "finds 0 test pairs" if config.method == "time" and not splits & {"test_warm", "test_cold"} else ""


# ---- small known cases ----


def test_leave_one_out_keeps_a_train_product(spark: SparkSession) -> None:
    pairs = reviews_frame(spark, [Review(u, p, 1.0, 0) for i, u in enumerate(USERS) for p in PRODUCTS[: i + 1]])
    found = assign_parts(pairs, Split(), 7).groupBy("user_id", "part").count().collect()
    counts = Counter({(row.user_id, row.part): row["count"] for row in found})
    parts = [[counts[u, part] for part in ("train", "validation", "test")] for u in USERS]
    assert parts == [[1, 0, 0], [1, 0, 1], *([n, 1, 1] for n in range(1, 7))]


def test_a_user_is_split_alike_whoever_else_is_there_and_otherwise_with_another_seed(spark: SparkSession) -> None:
    reviews = [Review(u, p, 1.0, 0) for u in USERS for p in PRODUCTS]

    def parts(rows: list[Review], seed: int) -> dict[Any, str]:
        frame = assign_parts(reviews_frame(spark, rows), Split(holdout_cold_fraction=0.2), seed)
        return {(r.user_id, r.product_id): r.part for r in frame.collect()}

    everybody = parts(reviews, 1)
    removed = held_out(spark.createDataFrame([(p,) for p in PRODUCTS], "product_id string"), 1, 0.2).collect()
    assert {r.product_id for r in removed} == {p for p in PRODUCTS if all(everybody[u, p] == "test" for u in USERS)}
    assert removed
    alone = parts([r for r in reviews if r.user_id == "u3"], 1)
    assert alone == {pair: part for pair, part in everybody.items() if pair[0] == "u3"}
    assert parts(reviews, 2) != everybody


@pytest.mark.fault
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"min_user_products": 13},
            "0 users left after dropping those with fewer than 13 distinct products (of 8 users)",
        ),
        ({"holdout_cold_fraction": 1.0}, "0 pairs left to train on"),
        ({"method": "time"}, "the time split finds 0 test pairs"),
        ({"method": "time", "test_fraction": 0.5, "validation_fraction": 0.5}, "the time split leaves 0 of 96 pairs"),
    ],
)
def test_what_leaves_nothing_is_refused(spark: SparkSession, options: dict[str, Any], message: str) -> None:
    frame = reviews_frame(spark, [Review(u, p, 1.0, 0) for u in USERS for p in PRODUCTS])
    with pytest.raises(DataError) as error, filter_users(frame, features_frame(spark, ["p0"]), Split(**options), 0):
        pass
    assert str(error.value).startswith(message)


@pytest.mark.fault
@pytest.mark.parametrize("missing_features", ["keep", "drop"])
def test_reviews_and_pictures_without_a_common_id_are_refused(spark: SparkSession, missing_features: Any) -> None:
    frame = reviews_frame(spark, [Review(u, p.lstrip("p"), 1.0, 0) for u in USERS for p in PRODUCTS])
    for pictured, message in ((PRODUCTS, "such as '0'.* some of 'p0'"), ([], "no image feature at all")):
        config, features = Split(missing_features=missing_features), features_frame(spark, pictured)
        with pytest.raises(DataError, match=message), filter_users(frame, features, config, 0):
            pass


@pytest.mark.parametrize("partitions", [1, 7])
def test_numbers_have_no_gaps_and_follow_the_keys(spark: SparkSession, partitions: int) -> None:
    values = np.random.default_rng(0).permutation(1000).tolist()
    frame = spark.createDataFrame([(v % 3, str(v)) for v in values], "kind int, id string").repartition(partitions)
    with numbered(frame, "kind", "id") as rows:
        assert partitions == 1 or rows.select(F.spark_partition_id()).distinct().count() > 1
        found = sorted((r.number, r.kind, r.id) for r in rows.collect())
    assert found == [(i, *key) for i, key in enumerate(sorted((v % 3, str(v)) for v in values))]
    with numbered(frame.where("kind > 5"), "id") as rows:
        assert rows.count() == 0
