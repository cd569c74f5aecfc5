"""The steps of the stage train, in order."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from vasg import schemas
from vasg.config import LEARNING_RATES
from vasg.errors import TryLater
from vasg.pipeline.job import Job
from vasg.pipeline.stages import fingerprint
from vasg.training.plan import Log, Plan, make_plan
from vasg.training.worker import train
from vasg.training.workers import SESSION, launch


def resumed(plan: Plan, session: Callable[[], Any]) -> Log:
    """Train; when a worker is lost, all start again from the last checkpoint, at most train.restarts times."""
    settings, progress = plan.config.train, Path(plan.checkpoints, "progress.log")
    left = settings.restarts
    while True:
        try:
            log: Log = launch(train, plan, settings.workers, settings.launcher, session, progress)
            return log
        except TryLater as error:
            if left == 0:
                raise
            left -= 1
            print(f"train: {error}: starting again now, {left} more times at most", flush=True)


def body(job: Job) -> None:
    """Train on the configured number of workers; a checkpoint of the same inputs is resumed."""
    settings = job.config.train
    for objective, rate in LEARNING_RATES.items():
        if objective != settings.objective and rate == settings.learning_rate:  # kept beside outputs of the other
            print(
                f"train: train.learning_rate is {rate:g}, as for {objective}; left out, it is that of {settings.objective}",
                flush=True,
            )
    job.session.settings |= SESSION
    output, baselines = (job.publication.directory(table) for table in ("embeddings", "baseline_embeddings"))
    plan = make_plan(job.warehouse, job.config, fingerprint(job.stage, job.config, job.warehouse), output, baselines)
    log = resumed(plan, lambda: job.spark)
    job.publication.add("embeddings")
    job.publication.add("baseline_embeddings")
    rows = [dict(zip(schemas.TABLES["training_log"].arrow().names, row, strict=True)) for row in log]
    job.publication.write_arrow("training_log", pa.Table.from_pylist(rows, schemas.TABLES["training_log"].arrow()))
    job.count(workers=settings.workers, users=plan.users, warm_products=plan.warm, cold_products=plan.cold)
    job.scratch.append(Path(plan.checkpoints))
