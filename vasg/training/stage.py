"""The steps of the stage train, in order."""

from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

import pyarrow as pa

from vasg import schemas
from vasg.config import PAPER, Train
from vasg.errors import DataError, TryLater
from vasg.pipeline.job import Job
from vasg.training.plan import Log, Plan, make_plan
from vasg.training.worker import train
from vasg.training.workers import SPARK_SETTINGS, launch


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
                raise TryLater(f"{error}; run again to resume") from error
            left -= 1
            print(f"train: {error}: starting again now, {left} more times at most", flush=True)


def _of_other_objective(settings: Train) -> dict[str, Any]:
    """Settings left as they are by default for the other objective, as from the configuration kept beside its outputs."""
    ours = {name: attrgetter(name)(Train()) for name in PAPER}
    others = ours if settings.objective == "paper" else PAPER
    return {name: value for name, value in others.items() if attrgetter(name)(settings) == value}


def body(job: Job) -> None:
    """Train on the configured number of workers; a checkpoint of the same inputs is resumed.

    Raises DataError when the walks are of other purchases than those published.
    """
    for table in job.warehouse.changed_since("generate_walks"):
        raise DataError(
            f"table walks was made from another version of table {table} than the one published now; run generate_walks again"
        )
    settings = job.config.train
    for name, value in _of_other_objective(settings).items():
        print(
            f"train: train.{name} is {value}, the default for the other objective; left out, it is that of "
            f"{settings.objective}",
            flush=True,
        )
    job.session.settings |= SPARK_SETTINGS
    output, baselines = (job.publication.directory(table) for table in ("embeddings", "baseline_embeddings"))
    plan = make_plan(job.warehouse, job.config, job.fingerprint, output, baselines)
    log = resumed(plan, lambda: job.spark)
    job.publication.add("embeddings")
    job.publication.add("baseline_embeddings")
    rows = [dict(zip(schemas.TABLES["training_log"].arrow().names, row, strict=True)) for row in log]
    job.publication.write_arrow("training_log", pa.Table.from_pylist(rows, schemas.TABLES["training_log"].arrow()))
    job.count(workers=settings.workers, users=plan.users, warm_products=plan.warm, cold_products=plan.cold)
    job.scratch.append(Path(plan.checkpoints))
