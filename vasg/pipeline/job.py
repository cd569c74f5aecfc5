"""What every job in ``jobs/`` does around its one call: arguments, lock, session, inputs, publication, exit code."""

import argparse
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from vasg.command_line import Parser, add_arguments, complain, this_run_id
from vasg.config import Config
from vasg.config_file import load, to_toml
from vasg.installation import made_with
from vasg.pipeline.stages import Stage, fingerprint, is_up_to_date, run_date, stage
from vasg.signals import ends_in_order
from vasg.spark.session import Session, wait_for_ended
from vasg.warehouse.files import write_atomically
from vasg.warehouse.publication import Publication
from vasg.warehouse.tables import Warehouse


class Job:
    """One run of one stage: its configuration, its inputs, and the publication its outputs go to."""

    def __init__(
        self,
        stage: Stage,
        config: Config,
        warehouse: Warehouse,
        publication: Publication,
        run_id: str,
        mark: str,
        forced: bool,
    ) -> None:
        self.stage, self.config, self.warehouse = stage, config, warehouse
        self.publication, self.run_id, self.fingerprint = publication, run_id, mark
        self.forced = forced  # it runs although it may be up to date
        self.counts: dict[str, int | float | str] = {}
        self.scratch: list[Path] = []  # directories that nobody needs once the stage is published
        self.session = Session(f"vasg {stage.name}")

    @property
    def spark(self) -> SparkSession:
        """The Spark session, started when first asked for."""
        return self.session.start().result()

    def read(self, table: str) -> DataFrame:
        """A table this stage declares as its input."""
        assert table in self.stage.reads, f"{self.stage.name} does not declare that it reads {table}"
        return self.warehouse.read(self.spark, table)

    def count(self, **counts: int | float | str) -> None:
        """Report what happened to the data; shown in the stage summary and kept in run.json."""
        self.counts |= counts


def main(name: str, body: Callable[[Job], None], argv: Sequence[str] | None = None) -> int:
    """Run stage ``name``; returns the exit code. The first line on stderr says what went wrong, if anything did."""
    verbose = False
    try:
        arguments = _parser(name).parse_args(argv)
        verbose = arguments.verbose
        with ends_in_order():
            _run(name, body, arguments)
        return 0
    except Exception as error:
        return complain(f"vasg {name}", error, verbose)
    finally:
        if argv is not None:  # the caller goes on, perhaps with a session of its own
            wait_for_ended()


def _parser(name: str) -> Parser:
    result = Parser(f"jobs/{name}.py", description="One stage of the VASG pipeline.")
    add_arguments(result)
    result.add_argument(
        "--force", action="store_true", help="run even if up to date; extract_features encodes all pictures"
    )
    return result


def _run(name: str, body: Callable[[Job], None], arguments: argparse.Namespace) -> None:
    started = time.monotonic()
    given, run_id = load(arguments.config, arguments.set), this_run_id()
    # Decided once: a job that goes on after midnight publishes lists of the day that its fingerprint says.
    config = replace(given, run_date=run_date(given))
    this = stage(config, name)
    with Warehouse(arguments.root).lock(run_id) as warehouse:
        if not arguments.force and is_up_to_date(this, config, warehouse):
            _report(warehouse, run_id, {"stage": name, "status": "up to date", "seconds": 0.0})
            return
        for table in this.reads:
            warehouse.verify(table)
        mark = fingerprint(this, config, warehouse)  # before reading: a change meanwhile must not pass as done
        inputs = {table: warehouse.digest(table) for table in this.reads}  # what the outputs were made from
        with warehouse.publication(name, run_id, to_toml(given)) as publication:
            job = Job(this, config, warehouse, publication, run_id, mark, arguments.force)
            try:
                body(job)
            finally:
                job.session.stop()
            summary = {
                "seconds": round(time.monotonic() - started, 1),
                "rows_in": {table: int(warehouse.manifest(table)["rows"]) for table in this.reads},
                "rows_out": publication.rows,
                "inputs": inputs,
                "counts": job.counts,
                "made_with": made_with(),
            }
            publication.commit(mark, summary)
        for directory in job.scratch:
            shutil.rmtree(directory, ignore_errors=True)  # what stays is left to vasg gc
    _report(warehouse, run_id, {"stage": name, "status": "done", **summary})


def _report(warehouse: Warehouse, run_id: str, summary: dict[str, Any]) -> None:
    """Print a stage summary and keep it for run.json."""
    keep(warehouse.root / "runs" / run_id / f"{summary['stage']}.json", summary)
    print(describe(summary), flush=True)


def keep(path: Path, record: dict[str, Any]) -> None:
    """Write the record of a stage or a run; that it cannot be written must not hide how that ended."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda temporary: temporary.write_text(json.dumps(record, indent=1), encoding="utf-8"))
    except OSError as error:
        print(f"{path} cannot be written: {error.strerror}", flush=True)


def describe(summary: dict[str, Any]) -> str:
    """One line for people."""
    rows = ", ".join(f"{table} {count:,}" for table, count in summary.get("rows_out", {}).items())
    counts = "; ".join(
        f"{key} {value:,}" if isinstance(value, int) else f"{key} {value}"
        for key, value in summary.get("counts", {}).items()
    )
    return (
        f"{summary['stage']}: {summary['status']} in {summary['seconds']:.1f} s"
        + (f" -> {rows}" if rows else "")
        + (f" [{counts}]" if counts else "")
    )
