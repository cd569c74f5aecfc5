"""The picture of one curve of a sweep."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vasg.sweep.plan import Point, is_number
from vasg.sweep.results import MEASURES, legend
from vasg.warehouse.files import write_atomically

_ROWS = {"AUC": ("mean", "low", "high"), "difference from base": ("difference", "difference_low", "difference_high")}
_WIDE = 10  # numbers that span this factor or more stand on a logarithmic axis


def draw(summary: pd.DataFrame, key: str, points: list[Point], path: Path) -> None:
    """Write a PNG: a column for each measure, its AUC above, below the difference from the base run of the same seed.

    Numbers stand at their place on the axis, other values side by side; the base configuration is marked.
    """
    rows = summary[summary["key"] == key]
    places = [point.value if is_number(point.value) else at for at, point in enumerate(points)]
    measures = [measure for measure in MEASURES.values() if (rows["measure"] == measure).any()]
    figure = Figure(figsize=(3.4 * len(measures) + 0.6, 5.6), layout="constrained")
    grid = figure.subplots(2, len(measures), sharex=True, sharey="row", squeeze=False)
    for column, measure in enumerate(measures):
        here = rows[rows["measure"] == measure].set_index("point")
        x = np.array([place for place, point in zip(places, points, strict=True) if point.label in here.index])
        here = here.loc[[point.label for point in points if point.label in here.index]]
        for axes, columns in zip(grid[:, column], _ROWS.values(), strict=True):
            _curve(axes, x, here, columns)
        grid[0, column].set_title(measure, fontsize=10)
        grid[1, column].axhline(0, color="0.6", linewidth=0.8, zorder=0)
        grid[1, column].set_xlabel(key)
    for axes, name in zip(grid[:, 0], _ROWS, strict=True):
        axes.set_ylabel(name)
    _scale(grid[0, 0], places, points)
    figure.suptitle(f"vasg by {key}: mean over seeds, band: {legend(rows)}; square: base", fontsize=11)
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=120))


def _curve(axes: Axes, x: Any, rows: pd.DataFrame, columns: tuple[str, str, str]) -> None:
    """One line with its band (whiskers too, so that a single point shows its own), the base as a square."""
    mean, low, high = (rows[name].to_numpy(dtype=float) for name in columns)
    base = rows["is_base"].to_numpy(dtype=bool)
    axes.fill_between(x, low, high, color="C0", alpha=0.2, linewidth=0)
    axes.errorbar(x, mean, [mean - low, high - mean], color="C0", marker="o", markersize=4, elinewidth=0.8, capsize=2)
    axes.plot(x[base], mean[base], "s", color="C3", markersize=7)
    axes.grid(alpha=0.3)


def _scale(axes: Axes, places: list[Any], points: list[Point]) -> None:
    """Ticks at the points, named as in the configuration; the other panels share the axis."""
    if is_number(points[0].value) and min(places) > 0 and max(places) >= _WIDE * min(places):
        axes.set_xscale("log")
    axes.set_xticks(places, [point.label for point in points])
    axes.minorticks_off()
