"""train: walks and image features -> embeddings, baseline_embeddings, training_log."""

import shutil
import sys
from pathlib import Path

import pyarrow as pa

from vasg import schemas
from vasg.job import Job, main
from vasg.stages import fingerprint
from vasg.training.plan import make_plan
from vasg.training.worker import train
from vasg.training.workers import launch


def body(job: Job) -> None:
    """Train on the configured number of workers; a checkpoint of the same inputs is resumed."""
    settings = job.config.train
    output, baselines = (job.publication.directory(table) for table in ("embeddings", "baseline_embeddings"))
    plan = make_plan(job.warehouse, job.config, fingerprint(job.stage, job.config, job.warehouse), output, baselines)
    log = launch(
        train, plan, settings.workers, settings.launcher, lambda: job.spark, Path(plan.checkpoints, "progress.log")
    )
    job.publication.add("embeddings")
    job.publication.add("baseline_embeddings")
    rows = [dict(zip(schemas.TABLES["training_log"].arrow().names, row, strict=True)) for row in log]
    job.publication.write_arrow("training_log", pa.Table.from_pylist(rows, schemas.TABLES["training_log"].arrow()))
    job.count(workers=settings.workers, users=plan.users, warm_products=plan.warm, cold_products=plan.cold)
    shutil.rmtree(plan.checkpoints)


if __name__ == "__main__":
    sys.exit(main("train", body))
