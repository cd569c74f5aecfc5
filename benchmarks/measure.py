"""Running ours and theirs in turn, and what is kept of it."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from vasg import installation
from vasg.pipeline.runner import HOME, environment

HERE = Path(__file__).parent
# Environments of peers, and what is in them: they want other versions of numpy than each other, and than Petastorm.
ENVIRONMENTS = {".venv": "requirements.txt", ".venv-cornac": "requirements-cornac.txt"}

T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """One comparison; ``ours`` and ``theirs`` are medians in ``unit``, larger is better, ``floor`` what limits both."""

    stage: str
    size: str
    peer: str
    unit: str
    ours: float
    theirs: float
    ratio: float
    floor: str
    machine: str
    raw_ours: list[float]
    raw_theirs: list[float]


def alternate(ours: Callable[[], T], theirs: Callable[[], T], rounds: int) -> tuple[list[T], list[T]]:
    """What ours and theirs measure, taken in turn: a machine that slows down slows both."""
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def compare(
    stage: str, size: str, peer: str, unit: str, work: float, ours: Sequence[float], theirs: Sequence[float], floor: str
) -> Result:
    """``work`` units were done in each of the seconds given."""
    mine, other = work / statistics.median(ours), work / statistics.median(theirs)
    raw = [round(s, 3) for s in ours], [round(s, 3) for s in theirs]
    found = Result(stage, size, peer, unit, mine, other, mine / other, floor, machine(), *raw)
    print(
        f"{stage} ({size}), {peer}: ours {mine:.4g} {unit}, theirs {other:.4g}, ratio {found.ratio:.2f}; "
        f"seconds ours {raw[0]}, theirs {raw[1]}; {floor}",
        flush=True,
    )
    return found


def peer(script: str, *arguments: object) -> float:
    """Seconds that a script of ``peers/`` reports for its work, see ``peer_report``."""
    return peer_report(script, *arguments)["seconds"]


def peer_report(script: str, *arguments: object, environment: str = ".venv") -> dict[str, float]:
    """What a script of ``peers/`` reports of its work, in the peers' environment on two threads."""
    return report([_python(environment), HERE / "peers" / script, *arguments])


def report(command: Sequence[object]) -> dict[str, float]:
    """The JSON object on the last line that a command prints. Raises RuntimeError when it fails."""
    environment = os.environ | {"OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def job(stage: str, config: Path, root: Path, *settings: str) -> float:
    """Seconds of a stage from spark-submit to its exit. Raises RuntimeError with what it printed when it fails."""
    command = [
        str(HOME / ".venv/bin/spark-submit"), "--properties-file", str(HOME / "spark_conf/local.conf"),
        str(HOME / f"jobs/{stage}.py"), "--config", str(config), "--root", str(root),
    ]  # fmt: skip
    for setting in settings:
        command += ["--set", setting]
    started = time.perf_counter()
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"{stage} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return seconds


@cache
def _python(environment: str) -> Path:
    """The interpreter of an environment of peers, which is made when the first of them is wanted."""
    python = HERE / environment / "bin" / "python"
    if not python.exists():
        print(f"bench: installing peers into benchmarks/{environment}, once", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(HERE / environment)], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--retries", "1", "-r", HERE / ENVIRONMENTS[environment]]
        subprocess.run(list(map(str, pip)), check=True)
    return python


def machine() -> str:
    """Processor, cores and Python."""
    return f"{installation.machine()}, Python {platform.python_version()}"


def save(results: list[Result]) -> None:
    """Write results.json, replacing what the same comparisons gave before."""
    path = HERE / "results.json"
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    new = [asdict(result) for result in results]
    done = {(r["stage"], r["size"], r["peer"]) for r in new}
    kept = [r for r in old if (r["stage"], r["size"], r["peer"]) not in done]
    path.write_text(json.dumps(kept + new, indent=1) + "\n", encoding="utf-8")
