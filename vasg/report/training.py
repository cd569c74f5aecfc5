"""What training measured: losses, what was watched, and the weights that were chosen."""

import pandas as pd
from matplotlib.ticker import MaxNLocator

from vasg.report.charts import LINES, chart
from vasg.report.page import Block, Chapter, Grid, Picture, Pictures
from vasg.report.run import Run

_LOSSES = r"loss$|^reconstruction|^regression"


def training_chapter(run: Run) -> Chapter | None:
    """Loss curves and everything else in training_log; None where there is no such table."""
    if not run.warehouse.has("training_log"):
        return None
    log = run.warehouse.read_arrow("training_log").to_pandas()
    losses = log[log["quantity"].str.contains(_LOSSES)]
    curves = [
        _curves(str(phase), rows) for phase, rows in losses.groupby("phase", sort=False) if rows["epoch"].max() > 1
    ]
    blocks: list[Block] = [Pictures(curves)] if curves else []
    return Chapter("Training", _blend(log), [*blocks, _ends(log)])


def _blend(log: pd.DataFrame) -> list[str]:
    """The weights between the terms of the score."""
    blend = dict(log.loc[log["phase"] == "blend", ["quantity", "value"]].itertuples(index=False, name=None))
    if not blend:
        return []
    auc, pairs, kept = blend.pop("validation_auc", None), blend.pop("validation_pairs", 0), blend.pop("kept")
    weights = ", ".join(f"{quantity} {value:.3g}" for quantity, value in blend.items())
    compressed = f"The published vectors keep {100 * kept:.1f} % of the squares of the weighted score."
    if auc is None:
        return [f"Weights between the terms of the score, not chosen on validation pairs: {weights}. {compressed}"]
    return [
        f"Weights between the terms of the score, chosen on validation pairs and never on test pairs: {weights}. "
        f"{compressed} Their AUC on {pairs:,.0f} of the validation pairs is {auc:.3f}."
    ]


def _curves(phase: str, rows: pd.DataFrame) -> Picture:
    figure, axes = chart(4.8, 2.9, phase.replace("_", " "))
    drawn: list[str] = []
    for quantity, line in rows.groupby("quantity", sort=False):
        if (line["value"] != 0).any():  # a loss of nothing but zeros was switched off
            color = LINES[len(drawn) % len(LINES)]
            axes.plot(
                line["epoch"], line["value"], "o-", markersize=3, label=str(quantity).replace("_", " "), color=color
            )
            drawn.append(f"{quantity} from {line['value'].iloc[0]:.3g} to {line['value'].iloc[-1]:.3g}")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8)
    return Picture(
        figure, f"Losses of the phase {phase}: {', '.join(drawn)}",
        f"Losses of the phase {phase}; lower is better, and a curve that still falls at its end had more to learn. "
        "From the table training_log.",
    )  # fmt: skip


def _ends(log: pd.DataFrame) -> Grid:
    rows = [
        [f"{phase}: {quantity}".replace("_", " "), str(len(values)), f"{values.iloc[0]:.4g}", f"{values.iloc[-1]:.4g}"]
        for (phase, quantity), values in log.groupby(["phase", "quantity"], sort=False)["value"]
    ]
    caption = "Everything training measured, at the first and the last time. Table training_log, which has every epoch."
    return Grid(caption, ["quantity", "times", "first", "last"], rows, folded=True)
