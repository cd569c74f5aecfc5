"""Starts small programs that use a warehouse, as processes of their own that can be killed, in milliseconds.

The imports are done once, here; each program is a fork. Run as a script it reads commands as JSON lines and answers
each with one: ``{"start": PROGRAM, "environment": {...}, ...}`` gives ``{"pid"}``, ``{"wait": PID}`` gives ``{"code"}``
(an exit code, minus a signal, or null for a process that was stopped).
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

from vasg import schemas
from vasg.command_line import new_run_id
from vasg.errors import VasgError
from vasg.pipeline import job
from vasg.pipeline.job import Job
from vasg.warehouse import upkeep

ROWS = 3


def rows(table: str, value: str) -> pa.Table:
    """Some rows of a table that all say ``value`` in its first column of text."""
    schema = schemas.TABLES[table].arrow()
    text = next(field.name for field in schema if pa.types.is_string(field.type))
    columns = {field.name: pa.nulls(ROWS, field.type) for field in schema} | {text: [value] * ROWS}
    return pa.table(columns, schema=schema)


def read(warehouse: Any, table: str) -> str:
    """The value that all rows of a table have. Fails when they differ, or when rows are missing or damaged."""
    warehouse.verify(table)
    content = warehouse.read_arrow(table)
    text = next(field.name for field in content.schema if pa.types.is_string(field.type))
    assert content.num_rows == ROWS
    (value,) = set(content[text].to_pylist())
    return str(value)


def preprocess_reviews(this: Job) -> None:
    """A first stage: its tables say what the raw file says."""
    value = Path(this.config.reviews.path).read_text()
    for table in this.stage.writes:
        this.publication.write_arrow(table, rows(table, value))


def filter_users(this: Job) -> None:
    """A second stage: its tables say what those of the first say."""
    (value,) = {read(this.warehouse, table) for table in this.stage.reads}
    for table in this.stage.writes:
        this.publication.write_arrow(table, rows(table, value))


def run(command: dict[str, Any]) -> int:
    """What a started program does; returns its exit code."""
    root = command["root"]
    try:
        if command["start"] == "rollback":
            upkeep.rollback(root, new_run_id("rollback"))
        elif command["start"] == "gc":
            upkeep.gc(root, new_run_id("gc"), command["keep"])
        else:
            body = {"preprocess_reviews": preprocess_reviews, "filter_users": filter_users}[command["start"]]
            return job.main(command["start"], body, ["--config", command["config"], "--root", root])
    except VasgError as error:
        return error.exit_code
    return 0


def serve() -> None:
    """Answer commands until there are no more."""
    rows("reviews", "")  # pyarrow imports pandas when first used: here, not in every fork
    for line in sys.stdin:
        command = json.loads(line)
        if "wait" in command:
            status = os.waitpid(command["wait"], os.WUNTRACED)[1]
            print(
                json.dumps({"code": None if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)}), flush=True
            )
        else:
            pid = os.fork()
            if pid == 0:
                os.environ.update(command["environment"])
                log = os.open(command["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(log, 1)
                os.dup2(log, 2)
                code = 99
                try:
                    code = run(command)
                except SystemExit as told:
                    code = int(told.code or 0)
                finally:
                    sys.stdout.flush()
                    os._exit(code)
            print(json.dumps({"pid": pid}), flush=True)


class Server:
    """The other end: starts the script and talks to it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, program: str, root: Path, failpoint: str = "", **more: Any) -> int:
        """Start a program; returns its process id."""
        environment = {"VASG_FAILPOINT": failpoint}
        log = str(root.parent / "log")
        answer = self._ask({"start": program, "root": str(root), "environment": environment, "log": log, **more})
        return int(answer["pid"])

    def wait(self, pid: int) -> int | None:
        """The exit code of a program, minus the signal that ended it, None if it was stopped."""
        code = self._ask({"wait": pid})["code"]
        return None if code is None else int(code)

    def close(self) -> None:
        """End the script."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return dict(json.loads(self._process.stdout.readline()))


if __name__ == "__main__":
    serve()
