"""``vasg sweep`` from its options to its table and pictures."""

import sys
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from vasg.command_line import this_run_id
from vasg.errors import UsageError
from vasg.signals import ends_in_order
from vasg.sweep.models import compare
from vasg.sweep.models import table as table_of_models
from vasg.sweep.picture import draw
from vasg.sweep.plan import Plan, make_plan
from vasg.sweep.results import collect, summarise, table
from vasg.sweep.runs import Runs, last_words
from vasg.warehouse.files import make_directory, write_atomically
from vasg.warehouse.lock import lock


def sweep(
    config_path: str, root: str, vary: Sequence[str], seeds: str, jobs: int, overrides: Sequence[str] = (),
    properties_file: str | None = None, verbose: bool = False,
) -> int:  # fmt: skip
    """Run the base configuration and those around it, compare its models and draw a curve for each key.

    Returns the first failure's code. Everything is below ``root``: ``runs/POINT/seed=N`` (warehouses, each with its
    configuration and log beside it), ``models.csv``, ``sweep.parquet`` and ``sweep-KEY.png``. What is finished is not
    repeated. Raises UsageError and ConfigurationError before anything runs, TryLater while another sweep is at work in
    ``root``.
    """
    directory = Path(root).resolve()
    plan = make_plan(config_path, directory, overrides, vary, _seeds(seeds))
    options = ["--verbose"] if verbose else []
    options += ["--properties-file", str(Path(properties_file).resolve())] if properties_file else []
    sweep_id = this_run_id()
    with ends_in_order(), lock(make_directory(directory) / "lock", sweep_id):  # told to end, the runs are ended, too
        runs = Runs(plan.runs, jobs, options, sweep_id)
        rows = pd.DataFrame()
        with closing(runs.run()) as ended:
            for run in ended:
                if runs.codes[run] == 0:
                    rows = collect(plan, [run for run, code in runs.codes.items() if code == 0])
                    write_atomically(directory / "sweep.parquet", rows.to_parquet)
        finished = [run for run in plan.base if runs.codes.get(run) == 0]
        if finished:
            comparison = compare(finished)
            write_atomically(directory / "models.csv", partial(comparison.to_csv, index=False))
            print(table_of_models(comparison))
        if len(rows):
            _show(plan, rows, directory)
    failed = {run: code for run, code in runs.codes.items() if code}
    for run, code in failed.items():
        print(f"vasg: {run.name} failed with exit code {code}: {last_words(run.log)} (log {run.log})", file=sys.stderr)
    return next(iter(failed.values()), 0)


def _show(plan: Plan, rows: pd.DataFrame, directory: Path) -> None:
    summary = summarise(rows)
    for key, points in plan.curves.items():
        path = directory / f"sweep-{quote(key)}.png"
        draw(summary, key, points, path)
        print(f"\n{table(summary, key, [point.label for point in points])}\nPicture: {path}")
    print(f"All figures: {directory / 'sweep.parquet'}")


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--seeds {text}: write numbers with commas between them, as in 0,1,2") from None
    return list(dict.fromkeys(seeds))
