"""What every job in ``jobs/`` does around its one call: arguments, lock, session, inputs, publication, exit code."""

import argparse
import json
import os
import shutil
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from vasg.config import Config, load, to_toml
from vasg.errors import UsageError, expected, java_cause
from vasg.installation import made_with
from vasg.preflight import executor_fault
from vasg.publication import Publication
from vasg.session import Session, wait_for_ended
from vasg.signals import ends_in_order
from vasg.stages import Stage, fingerprint, is_up_to_date, stage
from vasg.tables import Warehouse


class Job:
    """One run of one stage: its configuration, its inputs, and the publication its outputs go to."""

    def __init__(
        self, stage: Stage, config: Config, warehouse: Warehouse, publication: Publication, run_id: str
    ) -> None:
        self.stage, self.config, self.warehouse = stage, config, warehouse
        self.publication, self.run_id = publication, run_id
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


def complain(who: str, error: Exception, verbose: bool) -> int:
    """Say on stderr, in one line, what went wrong (and the trace, if ``verbose``); returns the exit code."""
    known = expected(error) or executor_fault(str(error))
    if known is None:
        hint = "" if verbose else " (--verbose shows the trace)"
        message = f"internal error: {type(error).__name__}: {java_cause(error)}{hint}"
    else:
        message = str(known)
    # File names and ids in it are other people's text: nothing in them ends the line or steers the terminal.
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in message)
    print(f"{who}: {shown}", file=sys.stderr)
    if verbose:
        traceback.print_exception(error, file=sys.stderr)
    return 70 if known is None else known.exit_code


class Parser(argparse.ArgumentParser):
    """argparse whose complaints are a UsageError (64) in one line."""

    def error(self, message: str) -> Any:
        """Called by argparse for a wrong command line."""
        raise UsageError(f"{message}; {' '.join(self.format_usage().split())}")


def _parser(name: str) -> Parser:
    result = Parser(f"jobs/{name}.py", description="One stage of the VASG pipeline.")
    add_arguments(result)
    result.add_argument("--force", action="store_true", help="run even if the stage is up to date")
    return result


def add_arguments(result: argparse.ArgumentParser) -> None:
    """The options that ``vasg run`` and the jobs share."""
    result.add_argument("--config", required=True, metavar="FILE.toml")
    result.add_argument("--root", required=True, metavar="DIR", help="the warehouse directory")
    result.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override the configuration"
    )
    result.add_argument("--verbose", action="store_true", help="show the trace of an error")


def new_run_id() -> str:
    """The id of this run: given by ``vasg run`` to the jobs it starts, otherwise new."""
    return os.environ.get("VASG_RUN_ID") or own_run_id()


def own_run_id(command: str = "") -> str:
    """A run id that no other process has, and so shares no lock with."""
    return f"{command}{'-' if command else ''}{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"


def _run(name: str, body: Callable[[Job], None], arguments: argparse.Namespace) -> None:
    started = time.monotonic()
    config, run_id = load(arguments.config, arguments.set), new_run_id()
    this = stage(config, name)
    with Warehouse(arguments.root).lock(run_id) as warehouse:
        if not arguments.force and is_up_to_date(this, config, warehouse):
            _report(warehouse, run_id, {"stage": name, "status": "up to date", "seconds": 0.0})
            return
        for table in this.reads:
            warehouse.verify(table)
        mark = fingerprint(this, config, warehouse)  # before reading: a change meanwhile must not pass as done
        inputs = {table: warehouse.digest(table) for table in this.reads}  # what the outputs were made from
        with warehouse.publication(name, run_id, to_toml(config)) as publication:
            job = Job(this, config, warehouse, publication, run_id)
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
    directory = warehouse.root / "runs" / run_id
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{summary['stage']}.json").write_text(json.dumps(summary, indent=1))
    print(describe(summary), flush=True)


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
