"""The blend of picture and purchases: chosen by validation pairs alone, published as one inner product."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from training_shop import COLD, USERS, WARM, config, plan

from vasg.tables import Warehouse
from vasg.training.blend import Blend, choose
from vasg.training.plan import Plan, _interactions, _validation_sample
from vasg.training.publish import published
from vasg.training.sharded import ShardedRows
from vasg.training.workers import Workers

TASTE = np.eye(2)[np.arange(USERS) % 2]
STYLE = np.eye(2)[np.arange(WARM) % 2]


class Pictures:
    """Stands for M and its features: product p looks like row p."""

    def __init__(self, vectors: Any) -> None:
        self.vectors, self.features, self.rows = torch.from_numpy(vectors).float(), self, self
        self.device = torch.device("cpu")

    def has(self, product: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(product), dtype=torch.bool)

    def map(self, product: torch.Tensor) -> torch.Tensor:
        return self.vectors[product]


def rows(this: Plan, products: Any) -> ShardedRows:
    table = ShardedRows(Workers(1), USERS + WARM, 2, 0, 0.1, False, torch.device("cpu"))
    table.values[:, :2] = torch.from_numpy(np.concatenate([TASTE, products])).float()
    return table


def test_the_better_source_gets_the_weight(tmp_path: Path) -> None:
    this, noise = plan(tmp_path, config()), np.random.default_rng(0).normal(size=(WARM, 2))
    np.save(this.prior, np.zeros((USERS + WARM + COLD, 2), np.float32))
    trust_pictures, auc = choose(this, rows(this, noise), Pictures(STYLE))  # type: ignore[arg-type]
    assert trust_pictures.picture >= 0.6
    assert trust_pictures.mapped >= 0.25  # the closed form tells nothing here
    assert auc > 0.7
    trust_purchases, _ = choose(this, rows(this, STYLE), Pictures(noise))  # type: ignore[arg-type]
    assert trust_purchases.picture <= 0.4


def test_without_validation_pairs_the_default_holds(tmp_path: Path) -> None:
    this = plan(tmp_path, config())
    np.save(this.validation, np.empty((0, 2), np.int64))
    assert choose(this, rows(this, STYLE), Pictures(STYLE)) == (Blend(), 0.0)  # type: ignore[arg-type]


def test_published_score_is_the_blend() -> None:
    generator = np.random.default_rng(1)
    trained, looks = generator.normal(size=(4, 3)), generator.normal(size=(3, 2))
    is_product = np.array([False, False, True, True])
    vectors = published("sampled", trained, is_product, looks, -0.7, Blend(picture=0.25, popularity=0.5))
    user, score = trained[0, :2], vectors[0] @ vectors[2:].T
    for place, product in enumerate((2, 3)):
        expected = user @ (0.75 * trained[product, :2] + 0.25 * looks[place]) + 0.5 * trained[product, 2]
        assert np.isclose(score[place], expected, atol=1e-6)
    assert np.isclose(score[2], user @ looks[2] + 0.5 * -0.7, atol=1e-6)


def test_sample_holds_validation_pairs_and_what_their_users_know(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    pairs = [
        (0, 3, "train"),
        (0, 4, "validation_warm"),
        (1, 5, "train"),
        (1, 3, "test_warm"),
        (1, 4, "validation_warm"),
    ]
    columns = dict(zip(("user", "product", "split"), zip(*pairs, strict=True), strict=True))
    table = pa.table(columns | {"rating": pa.array([1.0] * len(pairs), pa.float32())})
    with warehouse.publication("filter_users", "run", "") as publication:
        publication.write_arrow("interactions", table)
        publication.commit("", {})
    known, split = _interactions(warehouse)
    found = _validation_sample(known, known[split == "validation_warm"], users=3, warm=3, seed=0)
    assert found["validation"].tolist() == [[0, 4], [1, 4]]
    assert found["candidates"].tolist() == [3, 4, 5]
    assert found["known"].tolist() == [[True, True, False], [True, True, True]]
