"""The whole of ``vasg run``, raw files to recommendations: seconds of each stage, and the most memory a process had."""

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import psutil

from benchmarks import measure
from benchmarks.data import Shop
from vasg.demo import amazon_files
from vasg.pipeline.runner import environment

_ASKED_SECONDS = 1800.0
_EVERY_SECONDS = 0.5


def run(shop: Shop, rounds: int) -> list[measure.Result]:
    """Runs an hour, of the whole and of each stage alone; one round, however many are asked for: it is long."""
    with tempfile.TemporaryDirectory(prefix="vasg-bench-") as folder:
        command = [sys.executable, "-m", "vasg.cli", "run", "--config", str(shop.raw / amazon_files.CONFIG)]
        command += ["--root", folder, "--set", "train.workers=2", "--set", "seed=0"]
        with subprocess.Popen(command, env=environment()) as process:
            peaks = _peaks(process)
        if process.returncode:
            raise RuntimeError(f"vasg run ended with code {process.returncode}")
        (record,) = (json.loads(path.read_text()) for path in Path(folder).glob("runs/*/run.json"))
    total = record["seconds"]
    rows = [("total", total, "asked: 30 minutes", _ASKED_SECONDS)]
    rows += [(stage["stage"], stage["seconds"], "the whole run", total) for stage in record["stages"]]
    return [
        measure.compare(f"pipeline, {name}", shop.name, peer, "runs/h", 3600, [own], [other], _memory(peaks[name]))
        for name, own, peer, other in rows
    ]


def _peaks(process: subprocess.Popen[bytes]) -> dict[str, dict[str, float]]:
    """Largest resident GiB of any one process, by stage ("total": all of them) and by program, while a run goes on."""
    peaks: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    root = psutil.Process(process.pid)
    while process.poll() is None:
        stage = ""
        for child in root.children(recursive=True):  # a stage's spark-submit comes before what it starts
            try:
                stage = next(
                    (Path(word).stem for word in child.cmdline() if "jobs/" in word and word.endswith(".py")), stage
                )
                program, used = child.name(), child.memory_info().rss / 2**30
            except psutil.NoSuchProcess:
                continue
            for name in ("total", stage):
                peaks[name][program] = max(peaks[name][program], used)
        try:
            process.wait(_EVERY_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    return peaks


def _memory(peaks: dict[str, float]) -> str:
    used = sorted(peaks.items(), key=lambda item: -item[1])
    return "most memory of a process, GiB: " + ", ".join(f"{program} {gib:.2f}" for program, gib in used if gib >= 0.05)
