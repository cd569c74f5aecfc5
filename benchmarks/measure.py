"""Running ours and theirs in turn, and what is kept of it."""

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vasg import installation

HERE = Path(__file__).parent
PEER_PYTHON = HERE / ".venv" / "bin" / "python"


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


def alternate(ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of ours and theirs, taken in turn: a machine that slows down slows both."""
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
    """Seconds that a script of ``peers/`` reports for its work, in the peers' environment on two threads."""
    environment = os.environ | {"OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "1"}
    command = [str(PEER_PYTHON), str(HERE / "peers" / script), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{script} failed:\n{done.stderr[-2000:]}")
    return float(json.loads(done.stdout.strip().splitlines()[-1])["seconds"])


def install_peers() -> None:
    """The peers' environment, once."""
    if not PEER_PYTHON.exists():
        print("bench: installing the peers into benchmarks/.venv, once", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(HERE / ".venv")], check=True)
        pip = [str(PEER_PYTHON), "-m", "pip", "install", "--quiet", "-r", str(HERE / "requirements.txt")]
        subprocess.run(pip, check=True)


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
