"""The runs of a sweep, side by side: each a ``vasg run`` in a process group of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path

from vasg.config_file import to_toml
from vasg.errors import TryLater
from vasg.pipeline.stages import is_up_to_date, stages
from vasg.signals import end_groups, shell_code
from vasg.sweep.plan import Run
from vasg.sweep.share import adopt
from vasg.warehouse.files import write_atomically
from vasg.warehouse.tables import Warehouse

_POLL_SECONDS = 0.5
_PATIENCE_SECONDS = 45.0  # more than a run gives what is left of its stage, which would outlive it if killed earlier


class Runs:
    """Brings runs up to date, at most ``jobs`` at a time; ``options`` are passed on to each ``vasg run``.

    A run waits for its parent, whatever becomes of it, and for a run of an earlier, killed sweep that is still busy in
    its warehouse.
    """

    def __init__(self, runs: list[Run], jobs: int, options: list[str], sweep_id: str) -> None:
        self.jobs, self.options, self.sweep_id = jobs, options, sweep_id
        self.total, self._waiting = len(runs), list(runs)
        self._running: dict[Run, subprocess.Popen[bytes]] = {}
        self._told: set[Run] = set()
        self.codes: dict[Run, int] = {}  # exit codes of the runs that have ended, in that order

    def run(self) -> Generator[Run, None, None]:
        """Each run as it ends, also those that had nothing to do. What still runs when it is closed is stopped."""
        try:
            while self._waiting or self._running:
                yield from self._start_ready()
                yield from self._take_ended()
                time.sleep(_POLL_SECONDS)
        finally:
            end_groups([process.pid for process in self._running.values()], _PATIENCE_SECONDS)

    def _start_ready(self) -> Iterator[Run]:
        for run in [run for run in self._waiting if run.parent is None or run.parent in self.codes]:
            if len(self._running) == self.jobs:
                return
            try:
                done = _prepare(run, self.sweep_id)
            except TryLater as busy:
                if run not in self._told:
                    self._say(run, f"waits: {busy}")
                self._told.add(run)
                continue
            self._waiting.remove(run)
            if done:
                yield self._end(run, 0, "is up to date")
            else:
                self._running[run] = _start(run, self.options)
                self._say(run, f"started; log {run.log}")

    def _take_ended(self) -> Iterator[Run]:
        ended = [run for run, process in self._running.items() if process.poll() is not None]
        for run in ended:
            code = shell_code(self._running.pop(run).returncode)
            yield self._end(run, code, f"failed with exit code {code}" if code else "done")

    def _end(self, run: Run, code: int, outcome: str) -> Run:
        self.codes[run] = code
        self._say(run, f"{outcome} ({len(self.codes)} of {self.total})")
        return run

    def _say(self, run: Run, text: str) -> None:
        print(f"sweep: {run.name} {text}", flush=True)


def _prepare(run: Run, sweep_id: str) -> bool:
    """Take over what the parent has in common; returns whether nothing is left to do. Raises TryLater: the root is held."""
    warehouse = Warehouse(run.root)
    with warehouse.lock(sweep_id):
        if run.parent:
            adopt(Warehouse(run.parent.root), warehouse, run.config, sweep_id)
        return all(is_up_to_date(stage, run.config, warehouse) for stage in stages(run.config))


def _start(run: Run, options: list[str]) -> subprocess.Popen[bytes]:
    write_atomically(run.config_file, lambda path: path.write_text(to_toml(run.config), encoding="utf-8"))
    command = [sys.executable, "-m", "vasg.cli", "run", "--config", str(run.config_file), "--root", str(run.root)]
    environment = {name: value for name, value in os.environ.items() if name != "VASG_RUN_ID"}
    with run.log.open("ab") as log:
        return subprocess.Popen(
            command + options, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, process_group=0
        )


def last_words(log: Path) -> str:
    """The last line in which a run says why it failed; "" if it said nothing."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line for line in reversed(lines) if line.startswith("vasg")), "")
