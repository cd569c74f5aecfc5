"""The pictures and the text of the linear relation (paper, section 5, figure 3)."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vasg.analysis.drawing import BLUE, GREEN, GREY, ORANGE, interval_dots
from vasg.analysis.inputs import Inputs
from vasg.analysis.linear_relation import NEAREST, LinearRelation, linear_relation
from vasg.analysis.section import Section
from vasg.analysis.thumbnails import thumbnails
from vasg.config import Config

_HITS = {"bought": BLUE, "related": ORANGE, "unseen": GREEN}
_EXAMPLES = 5
_OWN = 3  # products shown of each user
_SIDE = 72  # pixels
_GROUPS = (
    ("p1", 1),
    ("u1 also bought", _OWN),
    ("u2 bought", _OWN),
    ("nearest to p1 - u1 + u2; in blue: u2 bought it", NEAREST),
)


def section(inputs: Inputs, config: Config) -> Section:
    """The analysis for the report."""
    title = "From one user to another: p1 - u1 + u2"
    result = linear_relation(inputs, config.seed, config.score.bootstrap)
    if not len(result.queries.user):
        return Section(title, "Not measured: fewer than two users have a train product with a vector.")
    text = (
        f"{len(result.queries.user):,} times a user u1, a train product p1 of u1 and another user u2 are drawn, and the five "
        "products nearest by cosine to X_p1 - X_u1 + X_u2 are looked up, p1 left out (published vectors, without a "
        "product's bias). Precision@5 is the share of hits among the five, averaged.\n\n"
        "What counts as a hit: bought, u2 is known to have bought the product in any split, train included; related, some "
        "user bought both it and p1; unseen, u2 bought it in the splits for validation or test, with u2's train products "
        "left out of the choice. Only unseen hits are predictions (those for validation have had a say in "
        "weights); the others count what the vectors were trained on. The "
        "paper reports a precision@5 of 0.897 on Amazon's Men and does not say what a hit is.\n\n"
        "The rows below the first answer with simpler means: the products nearest to u2 alone or to p1 alone, the most "
        "popular, random ones. lead is the precision of the arithmetic less theirs: where it is not above zero, the "
        "arithmetic adds nothing. A user has few unseen products among all of the shop, so that their precision is low for any "
        "model. Intervals are 95 %, over u2 and p1."
    )
    figures = [draw(result.table)]
    examples = draw_examples(inputs, config, result)
    return Section(title, text, figures + ([examples] if examples else []), result.table)


def draw(table: pa.Table) -> Figure:
    """Precision of each way to choose, a panel for each kind of hit."""
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    for axes, (hit, colour) in zip(figure.subplots(1, len(_HITS), sharey=True), _HITS.items(), strict=True):
        rows = table.filter(pc.field("hit") == hit).to_pylist()
        at = np.arange(len(rows))[::-1]
        interval_dots(axes, at, rows, "precision", color=colour, marker="o")
        axes.set_yticks(at, [row["chosen by"] for row in rows])
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_xlim(0, axes.get_xlim()[1])
        axes.locator_params(axis="x", nbins=4)
        axes.set_title(hit, fontsize=10)
        axes.set_xlabel("precision@5")
        axes.grid(visible=False, axis="y")
    return figure


def draw_examples(inputs: Inputs, config: Config, result: LinearRelation) -> Figure | None:
    """The first queries of the sample, not chosen ones; None where no product has a picture on this machine."""
    rows = [_example(inputs, result, i) for i in range(min(_EXAMPLES, len(result.found)))]
    shown = np.unique(np.concatenate([products for row in rows for products in row]))
    names = {int(product): inputs.purchases.product_ids[int(product)].as_py() for product in shown}
    pictures = thumbnails(config, list(names.values()), _SIDE)
    if not pictures:
        return None
    figure = Figure(figsize=(9, 1.05 * len(rows) + 0.3), layout="constrained")
    ratios = [ratio for _, width in _GROUPS for ratio in (*[1.0] * width, 0.4)][:-1]  # a gap after each group
    grid = figure.subplots(len(rows), len(ratios), squeeze=False, width_ratios=ratios)
    for axes in grid.flat:
        axes.set_axis_off()
    for i, row in enumerate(rows):
        start = 0
        for (title, width), products in zip(_GROUPS, row, strict=True):
            for j, product in enumerate(products):
                hit = width == NEAREST and bool(result.bought[i, j])
                _show(grid[i, start + j], pictures.get(names[int(product)]), hit)
            if i == 0:
                grid[0, start + width // 2].set_title(title, loc="center", fontsize=9, fontweight="normal")
            start += width + 1
    return figure


def _example(inputs: Inputs, result: LinearRelation, i: int) -> list[NDArray[np.int64]]:
    """The products of query ``i`` for each of _GROUPS."""
    purchases, queries = inputs.purchases, result.queries
    own = []
    for user in (queries.user[i], queries.other[i]):
        products = purchases.product[(purchases.user == user) & purchases.of("train")]
        own.append(products[products != queries.product[i]][:_OWN])
    return [queries.product[i : i + 1], *own, result.found[i][result.found[i] >= 0]]


def _show(axes: Axes, picture: NDArray[np.uint8] | None, hit: bool) -> None:
    """A picture in a frame, thick and coloured for a hit."""
    axes.set_axis_on()
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(visible=True, color=BLUE if hit else GREY, linewidth=3 if hit else 0.5)
    if picture is None:
        axes.text(0.5, 0.5, "no\npicture", ha="center", va="center", fontsize=6, transform=axes.transAxes)
    else:
        axes.imshow(picture)
