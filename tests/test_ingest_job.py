"""The job preprocess_reviews: the real samples with their known counts, categories, and what a refusal leaves behind."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest

from vasg.warehouse.tables import Warehouse

RunJob = Callable[..., int]


def run(run_job: RunJob, tmp_path: Path, **sections: dict[str, Any]) -> tuple[int, Warehouse]:
    lines = []
    for section, values in sections.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    config = tmp_path / "config.toml"
    config.write_text("\n".join(lines))
    return run_job("preprocess_reviews", config, tmp_path / "root"), Warehouse(tmp_path / "root")


@pytest.mark.parametrize(
    ("file", "kind", "count"),
    [("Gift_Cards_5.json.gz", "amazon_2018", 2972), ("AMAZON_FASHION_5.json.gz", "amazon_2018", 3176),
     ("reviews_2014_first3.json", "amazon_2014", 3)],
)  # fmt: skip
def test_amazon_samples(run_job: RunJob, data: Path, tmp_path: Path, file: str, kind: str, count: int) -> None:
    code, warehouse = run(run_job, tmp_path, reviews={"path": str(data / "amazon" / file), "format": kind})
    assert code == 0
    reviews = warehouse.read_arrow("reviews")
    assert reviews.num_rows == count
    assert warehouse.read_arrow("rejects").num_rows == 0
    assert pc.min(reviews["rating"]).as_py() >= 1
    assert pc.max(reviews["rating"]).as_py() <= 5
    assert pc.min(reviews["timestamp"]).as_py() > 900_000_000
    assert pc.max(reviews["timestamp"]).as_py() < 1_600_000_000
    first = {"user_id": "A1KLRMWW2FWPL4", "product_id": "0000031887", "rating": 5.0, "timestamp": 1297468800}
    assert (first in reviews.to_pylist()) == (kind == "amazon_2014")


def test_gift_cards_metadata_and_feature_sample(run_job: RunJob, data: Path, tmp_path: Path) -> None:
    amazon = data / "amazon"
    reviews = {"path": str(amazon / "Gift_Cards_5.json.gz"), "format": "amazon_2018", "category": "Gift Cards"}
    reviews["metadata"] = str(amazon / "meta_Gift_Cards.json.gz")
    features = {"source": "feature_file", "path": str(amazon / "image_features_300d_sample.b"), "dim": 300}
    code, warehouse = run(run_job, tmp_path, reviews=reviews, features=features)
    assert code == 0
    counts = warehouse.catalog()["stages"]["preprocess_reviews"]["counts"]
    assert (counts["reviews read"], counts["metadata read"], counts["features read"]) == (2972, 1547, 1000)
    with gzip.open(reviews["metadata"], "rt") as file:
        products = {record["asin"] for record in map(json.loads, file) if "Gift Cards" in record["category"]}
    kept = warehouse.read_arrow("reviews")
    assert set(kept["product_id"].to_pylist()) <= products
    assert kept.num_rows + counts["reviews of other categories"] == 2972
    assert counts["features of other categories"] == 1000


def test_feature_sample(run_job: RunJob, data: Path, tmp_path: Path) -> None:
    path = data / "amazon" / "image_features_300d_sample.b"
    (tmp_path / "t.csv").write_text("user_id,product_id\nu,p\n")
    features = {"source": "feature_file", "path": str(path), "dim": 300}
    code, warehouse = run(run_job, tmp_path, reviews={"path": "t.csv"}, features=features)
    assert code == 0
    assert warehouse.manifest("image_features")["facts"] == {"encoder": "feature_file", "dim": 300}
    table = warehouse.read_arrow("image_features")
    raw = np.fromfile(path, np.dtype([("id", "S10"), ("feature", "<f4", 300)]))
    assert table["product_id"].to_pylist() == [name.decode() for name in raw["id"]]
    assert np.array_equal(pc.list_flatten(table["feature"]).to_numpy().reshape(1000, 300), raw["feature"])


def test_metadata_2014_sample(run_job: RunJob, data: Path, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(
        "\n".join(
            json.dumps({"reviewerID": "u", "asin": asin, "overall": 1, "unixReviewTime": 0})
            for asin in ("0000191639", "0005069491", "0076561046", "unknown")
        )
    )
    reviews = {"path": "r.json", "format": "amazon_2014", "metadata": str(data / "amazon" / "meta_2014_3lines.json")}
    code, warehouse = run(run_job, tmp_path, reviews=reviews | {"category": "Puzzles"})
    assert code == 0
    assert warehouse.read_arrow("reviews")["product_id"].to_pylist() == ["0000191639"]
    counts = warehouse.catalog()["stages"]["preprocess_reviews"]["counts"]
    assert counts == {"reviews read": 4, "metadata read": 3, "reviews of other categories": 3}


def test_hm_transactions(run_job: RunJob, data: Path, tmp_path: Path) -> None:
    reviews = {
        "path": str(data / "hm" / "transactions.csv"), "user_column": "customer_id", "product_column": "article_id",
        "timestamp_column": "t_dat",
    }  # fmt: skip
    code, warehouse = run(run_job, tmp_path, reviews=reviews)
    assert code == 0
    table = warehouse.read_arrow("reviews")
    assert table.num_rows == 31_662
    assert table.group_by(["user_id", "product_id"]).aggregate([]).num_rows == 27_443
    assert set(pc.utf8_length(table["product_id"]).to_pylist()) == {10}
    assert pc.min(table["timestamp"]).as_py() == 1537401600  # 2018-09-20
    assert pc.unique(table["rating"]).to_pylist() == [1.0]


def test_rejects_are_published_with_the_reviews(run_job: RunJob, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("user_id,product_id\n" + "u,p\n" * 199 + "\n")
    code, warehouse = run(run_job, tmp_path, reviews={"path": "t.csv"})
    assert code == 0
    assert warehouse.read_arrow("reviews").num_rows == 199  # repeat purchases stay
    assert warehouse.read_arrow("rejects").to_pylist() == [
        {"source": str(tmp_path / "t.csv"), "line": 201, "reason": "blank line", "raw": ""}
    ]
    counts = warehouse.catalog()["stages"]["preprocess_reviews"]["counts"]
    assert counts == {"reviews read": 200, "reviews bad, blank line": 1}


REVIEW = json.dumps({"reviewerID": "u", "asin": "p", "overall": 1, "unixReviewTime": 0})
REFUSALS = [
    ({"path": "absent.json"}, {}, 66, "absent.json"),
    ({"path": "empty.json"}, {}, 66, "empty.json"),
    ({"path": "cut.json.gz"}, {}, 65, "cut.json.gz is damaged at byte"),
    ({"path": "bad.json"}, {}, 65, "bad.json:2 (overall is not finite)"),
    ({"path": "bad.json", "format": "parquet"}, {}, 65, "bad.json cannot be read"),
    ({"path": "header.csv", "format": "csv"}, {}, 65, "no usable review"),
    ({"path": "header.csv", "format": "csv", "rating_column": "stars"}, {}, 65, "'stars' (reviews.rating_column)"),
    (
        {"path": "good.json", "category": "Women", "metadata": "meta.json"},
        {},
        65,
        "no usable review of category 'Women'",
    ),
    ({"path": "good.json"}, {"source": "feature_file", "path": "cut.b", "dim": 2}, 65, "cut.b"),
    ({"path": "good.json"}, {"source": "feature_file", "path": "empty.json", "dim": 2}, 66, "empty.json"),
]


@pytest.mark.parametrize(("reviews", "features", "expected", "message"), REFUSALS, ids=lambda value: str(value)[:40])
def test_refusals_publish_nothing(
    run_job: RunJob, tmp_path: Path, capfd: pytest.CaptureFixture[str], reviews: dict[str, Any], features: dict[str, Any],
    expected: int, message: str,
) -> None:  # fmt: skip
    (tmp_path / "good.json").write_text(REVIEW)
    (tmp_path / "bad.json").write_text(REVIEW + "\n" + REVIEW.replace("1,", "NaN,"))
    (tmp_path / "empty.json").touch()
    (tmp_path / "header.csv").write_text("user_id,product_id\n")
    (tmp_path / "meta.json").write_text("{'asin': 'p', 'categories': [['Men']]}")
    (tmp_path / "cut.b").write_bytes(b"x" * 37)
    (tmp_path / "cut.json.gz").write_bytes(gzip.compress((REVIEW + "\n").encode() * 5)[:-9])
    code, warehouse = run(run_job, tmp_path, reviews={"format": "amazon_2014"} | reviews, features=features)
    errors = [line for line in capfd.readouterr().err.splitlines() if "vasg preprocess_reviews:" in line]
    assert code == expected, errors
    assert len(errors) == 1
    assert message in errors[0]
    assert not warehouse.has("reviews")
    assert [path for path in (tmp_path / "root").rglob("*") if path.is_file()] == []
