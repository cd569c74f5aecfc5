"""The same jobs on a real cluster: spark-submit to a standalone master with two workers, training on both of them."""

import subprocess
import sys
from pathlib import Path

import pytest
from cluster import Cluster

from vasg.config_file import load
from vasg.pipeline.runner import HOME
from vasg.pipeline.stages import stages
from vasg.warehouse.tables import Warehouse

SMALL = (
    "train.workers=2", "train.epochs=1", "train.dim=8", "train.batch_walks=64", "train.decoder.hidden=[16]",
    "train.mapping.steps=5", "walks.walk_length=8", "walks.walks_per_node=2", "score.top_k=5", "score.metric_k=[5]",
    "score.bootstrap=20",
)  # fmt: skip


def submit(cluster: Cluster, stage: str, config: Path, root: Path) -> subprocess.CompletedProcess[str]:
    command = [
        str(Path(cluster.environment()["SPARK_HOME"], "bin", "spark-submit")),
        "--properties-file", str(cluster.properties), str(HOME / "jobs" / f"{stage}.py"), "--config", str(config),
        "--root", str(root), "--verbose",
    ]  # fmt: skip
    for override in SMALL:
        command += ["--set", override]
    return subprocess.run(command, env=cluster.environment(), capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # ten processes of Java one after the other, on whatever cores there are
def test_all_jobs_run_on_a_standalone_cluster(standalone_cluster: Cluster, tmp_path: Path) -> None:
    demo = ["--users", "60", "--products", "80", "--ratings", "600", "--dim", "16"]
    subprocess.run([sys.executable, "-m", "vasg.demo", "--out", str(tmp_path / "läden"), *demo], check=True)
    config, root = tmp_path / "läden" / "config.toml", tmp_path / "root"
    for stage in stages(load(config, SMALL)):
        answer = submit(standalone_cluster, stage.name, config, root)
        assert answer.returncode == 0, f"{stage.name}:\n{answer.stdout[-9000:]}\n{answer.stderr[-3000:]}"

    warehouse = Warehouse(root)
    recommendations = warehouse.read_arrow("recommendations").to_pandas().sort_values(["user_id", "rank"])
    nodes = warehouse.read_arrow("nodes").to_pandas()
    unserved = set(warehouse.read_arrow("uncovered")["id"].to_pylist())
    assert set(recommendations["user_id"]) | unserved >= set(nodes[nodes["node_type"] == "user"]["id"])
    assert recommendations.groupby("user_id")["rank"].agg(list).map(lambda ranks: ranks == [1, 2, 3, 4, 5]).all()
    for directory in standalone_cluster.workers:
        assert list(directory.glob("app-*/*/stderr")), f"no executor ran in {directory.name}"
