"""The plan that all workers share: what a resumed training finds again."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scoring_shop import publish, shop, tables

from vasg.config_file import from_dict
from vasg.training.plan import Plan, make_plan
from vasg.training.worker import train
from vasg.training.workers import Workers
from vasg.walks.layout import table
from vasg.warehouse.tables import Warehouse

CONFIG = from_dict({"features": {"source": "feature_file", "path": "none.b"}, "train": {"dim": 4}})
USERS, WARM, COLD = 40, 30, 5


def published(root: Path) -> Warehouse:
    """A shop with a walk of each type."""
    warehouse = publish(root, tables(shop(1, users=USERS, warm=WARM, cold=COLD, dim=4)))
    with warehouse.publication("generate_walks", "r1", "") as publication:
        for kind, walk in (("user", [0, USERS]), ("product", [USERS, 0])):
            folder = publication.directory("walks") / f"start_type={kind}"
            folder.mkdir()
            pq.write_table(table(np.array([walk[0]]), np.array([walk], np.int32)), folder / "part-0.parquet")
        publication.add("walks", facts={"lanes": 1, "walk_length": 2})
        publication.commit("", {})
    return warehouse


@pytest.mark.fault
def test_a_resumed_training_keeps_the_axes_it_began_with(tmp_path: Path) -> None:
    warehouse = published(tmp_path)

    def made() -> Plan:
        return make_plan(warehouse, CONFIG, "f" * 64, tmp_path / "output", tmp_path / "baselines")

    first = made()
    prior = np.load(first.prior)
    assert prior.shape == (USERS + WARM + COLD, 4)
    assert prior.any()
    np.save(first.prior, -prior)  # as another processor might find them
    assert np.array_equal(np.load(made().prior), -prior)
    Path(first.expected_sales).unlink()  # killed before the last of them was there: nothing has been trained on any
    assert np.allclose(np.load(made().prior), prior, atol=1e-4)


def test_a_shop_without_any_picture_is_trained(tmp_path: Path) -> None:
    """Its table image_features is empty, so that no feature has a length."""
    warehouse = published(tmp_path)
    with warehouse.publication("preprocess_reviews", "r2", "") as publication:
        publication.add("image_features", [])
        publication.commit("", {})
    with warehouse.publication("train", "r2", "") as publication:
        output, baselines = (publication.directory(table) for table in ("embeddings", "baseline_embeddings"))
        plan = make_plan(warehouse, CONFIG, "f" * 64, output, baselines)
        assert np.load(plan.features).shape == (WARM + COLD, 1)
        log = train(Workers(1), plan)
    assert {"skipgram", "blend"} <= {phase for phase, *_ in log}
