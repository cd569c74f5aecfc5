"""How charts look: one style, so that the figures of the page belong together."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

ACCENT, GREY, COLD, DROPPED = "#1d5fd1", "#8a94a3", "#0b7285", "#d9822b"
LINES = ("#1d5fd1", "#d9822b", "#0b7285", "#9b4dca", "#6b7280", "#c2334d")

STYLE: dict[str, Any] = {  # for matplotlib.rc_context, while charts are drawn and saved
    "font.size": 9.5, "axes.titlesize": 10.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#9aa3af", "axes.linewidth": 0.8,
    "axes.axisbelow": True, "axes.grid": True, "grid.color": "#e3e6eb", "grid.linewidth": 0.7,
    "xtick.color": "#4b5563", "ytick.color": "#4b5563", "axes.labelcolor": "#4b5563", "text.color": "#1c2330",
    "legend.frameon": False, "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none",
    "svg.fonttype": "path", "svg.hashsalt": "vasg",
}  # fmt: skip


def chart(width: float, height: float, title: str = "") -> tuple[Figure, Axes]:
    """An empty chart of that size in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title)
    return figure, axes
