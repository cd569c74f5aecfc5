"""``vasg run``: the stages in order, each through spark-submit, skipping what is up to date."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import pyspark

from vasg.command_line import this_run_id
from vasg.config import Config
from vasg.config_file import load, to_toml
from vasg.errors import EXIT_CODES, ConfigurationError, UsageError
from vasg.features.pattern import PathPattern
from vasg.pipeline.job import describe, keep
from vasg.pipeline.stages import NO_PICTURES, Stage, is_up_to_date, stage, stages
from vasg.signals import ends_in_order, passed_on, shell_code
from vasg.warehouse.files import write_atomically
from vasg.warehouse.tables import Warehouse

HOME = Path(os.environ.get("VASG_HOME", Path(__file__).resolve().parents[2]))
# of a log: our command, Java's stack, Spark's own lines, and what its script stumbles over next
_NOISE = re.compile(r"\$ |\s+at |\s*\.\.\. \d+ more|\d\d/\d\d/\d\d |.*: CMD: bad array subscript")
_SIGNALS = {128 + one: one.name for one in signal.Signals}  # by exit code
CLASSES = Path(sys.prefix, "spark-classes.jsa")  # Spark's Java classes as Java maps them, see scripts/setup.sh


def run(
    config_path: str, root: str, first: str | None = None, last: str | None = None, overrides: Sequence[str] = (),
    properties_file: str | None = None, verbose: bool = False,
) -> int:  # fmt: skip
    """Run the stages from ``first`` to ``last`` (names; both included). Returns the exit code of the first that failed.

    Without ``first``, stages that are up to date are skipped; with it, that stage always runs.
    """
    started, config = time.monotonic(), load(config_path, overrides)
    warehouse, run_id = Warehouse(root), this_run_id()
    selected = _select(config, first, last)
    directory = warehouse.root / "runs" / run_id
    # of all stages, whatever becomes of the file that was given meanwhile
    kept = directory / "config.toml"
    options = ["--config", str(kept), "--root", root] + ["--verbose"] * verbose
    summaries: list[dict[str, Any]] = []
    code = 0
    with ends_in_order(), warehouse.lock(run_id):
        directory.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, lambda path: path.write_text(to_toml(config), encoding="utf-8"))
        _say(f"run {run_id}: begins; logs in {directory}\n")
        try:
            for this in selected:
                if this.name != first and is_up_to_date(this, config, warehouse):
                    summaries.append({"stage": this.name, "status": "up to date", "seconds": 0.0})
                    _say(f"{describe(summaries[-1])}\n")
                    continue
                command = _command(this, properties_file, options + ["--force"] * (this.name == first))
                code, summary = _run_stage(this, command, directory)
                summaries.append(summary)
                if code:
                    break
        except SystemExit:  # SIGTERM between stages; one that runs is told, and gives a code
            code = 128 + signal.SIGTERM
        seconds = round(time.monotonic() - started, 1)
        record = {"run_id": run_id, "exit_code": code, "seconds": seconds, "stages": summaries}
        keep(directory / "run.json", record)
    if code == 0 and config.features.source == "none":
        _say(f"{selected[-1].name} is the last stage: {NO_PICTURES}\n")
    outcome = "finished" if code == 0 else f"stopped with code {code}"
    _say(f"run {run_id}: {outcome} after {seconds:.1f} s; details in {directory}/run.json\n")
    return code


def _say(text: str, screen: TextIO | None = None) -> None:
    """Print. When nobody reads any more, as after ``| head``, the run goes on: the logs have it all."""
    screen = screen or sys.stdout
    try:
        print(text, end="", file=screen, flush=True)
    except BrokenPipeError:
        with open(os.devnull, "wb") as nobody:
            os.dup2(nobody.fileno(), screen.fileno())


def _run_stage(this: Stage, command: list[str], directory: Path) -> tuple[int, dict[str, Any]]:
    """Its exit code, and its summary for run.json; ``directory`` is named after the run and takes the log."""
    log = directory / f"{this.name}.log"
    code = _submit(command, log, environment() | {"VASG_RUN_ID": directory.name})  # the job shares this run's lock
    if code in _SIGNALS:
        why = ", perhaps for want of memory" if code == 128 + signal.SIGKILL else ""
        again = "run again; " if code - 128 in (signal.SIGKILL, signal.SIGTERM) else ""
        print(f"vasg {this.name}: ended by {_SIGNALS[code]}{why}; {again}its log is {log}", file=sys.stderr)
    elif code and code not in EXIT_CODES:  # of spark-submit itself: no job ends so
        print(f"vasg {this.name}: {_no_start(code, log)}", file=sys.stderr)
        code = ConfigurationError.exit_code
    return code, {"stage": this.name, "status": f"failed ({code})"} if code else _summary(this, directory)


def _summary(this: Stage, directory: Path) -> dict[str, Any]:
    """What the job kept of itself; where it could not, as on a full disk, that it is done."""
    try:
        found: dict[str, Any] = json.loads((directory / f"{this.name}.json").read_text())
    except OSError:
        return {"stage": this.name, "status": "done"}
    return found


def _no_start(code: int, log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    said = (line.strip() for line in reversed(lines) if line.strip() and not _NOISE.match(line))
    return f"spark-submit ended with {code}, as no job does: {next(said, 'it did not say why')}; run vasg doctor, and see {log}"


def _select(config: Config, first: str | None, last: str | None) -> list[Stage]:
    found = stages(config)
    begin = found.index(stage(config, first)) if first else 0
    end = found.index(stage(config, last)) if last else len(found) - 1
    if end < begin:
        raise UsageError(f"--from {first} comes after --to {last}")
    selected = found[begin : end + 1]
    if any(this.name == "extract_features" for this in selected):
        PathPattern(config.features.path)  # told now, not after the stages before it
    return selected


def _command(this: Stage, properties: str | None, options: list[str]) -> list[str]:
    job, own = HOME / "jobs" / f"{this.name}.py", HOME / "spark_conf" / "local.conf"
    if properties and (not Path(properties).exists() or Path(properties).is_dir()):
        raise ConfigurationError(f"--properties-file {properties} does not exist")
    for path in (job,) if properties else (job, own):
        if not path.exists():
            raise ConfigurationError(
                f"{path} does not exist; set VASG_HOME to the directory that holds jobs/ and spark_conf/"
            )
    submit = Path(pyspark.__file__).parent / "bin" / "spark-submit"
    return [str(submit), "--properties-file", properties or str(own), str(job), *options]


def environment() -> dict[str, str]:
    """Environment of spark-submit: this interpreter and its own Spark, whatever else is on the machine."""
    result = os.environ | {
        "SPARK_HOME": str(Path(pyspark.__file__).parent),
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",  # no module from the folder that somebody happens to be in
        "LC_ALL": "C.UTF-8",  # Java takes the encoding of file names from it, and sees no ü in another
    }
    if CLASSES.exists():  # two seconds less at every start; of another Java or Spark, Java passes it over
        options = f"-XX:SharedArchiveFile={CLASSES} -Xlog:cds=off -Xlog:cds+dynamic=off"
        result["SPARK_SUBMIT_OPTS"] = f"{options} {os.environ.get('SPARK_SUBMIT_OPTS', '')}".strip()
    return result


def _submit(command: list[str], log: Path, env: dict[str, str]) -> int:
    """Run spark-submit. Spark's own messages go to the log, the job's lines there and to the screen.

    spark-submit prints whatever a Python driver writes to stderr on its stdout; from the line with the error on, we put
    it back. Returns the exit code, 128 + N for a process that signal N ended, as shells do, or when N was sent to us.
    """
    with log.open("ab", buffering=0) as file:
        file.write(f"$ {' '.join(command)}\n".encode())
        with passed_on(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            errors="replace",
        ) as (process, signals):
            assert process.stdout is not None
            screen = sys.stdout
            for line in process.stdout:
                if line.startswith("vasg "):
                    screen = sys.stderr
                _say(line, screen)
                with contextlib.suppress(OSError):  # a full disk ends the log, not the run
                    file.write(line.encode())
    if signals:
        return 128 + signals[0]
    return shell_code(process.returncode)
