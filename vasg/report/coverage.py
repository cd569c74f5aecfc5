"""Who and what the published lists reach: coverage, concentration, and the long tail."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vasg.report.charts import ACCENT, COLD, GREY, chart
from vasg.report.page import Block, Chapter, Grid, Picture, Pictures, count, share
from vasg.report.run import Run


@dataclass(frozen=True)
class Reach:
    """Of every product, in the order of the nodes: places in lists, purchases in the training data, whether it is cold."""

    places: NDArray[np.int64]  # [P]
    bought: NDArray[np.int64]  # [P]
    is_cold: NDArray[np.bool_]  # [P]
    users: int

    @property
    def recommended(self) -> float:
        """Share of the catalogue that stands in at least one list."""
        return float((self.places > 0).mean())

    @property
    def cold_places(self) -> float:
        """Share of all places in lists that cold products hold."""
        return float(self.places[self.is_cold].sum() / max(1, self.places.sum()))


def reach(run: Run) -> Reach:
    """Counted batch by batch: memory grows with the products, not with the lists."""
    nodes = run.warehouse.read_arrow("nodes").sort_by("node")
    users = pc.sum(pc.equal(nodes["node_type"], "user")).as_py()
    products = nodes.slice(users)
    places, bought = (np.zeros(len(products), np.int64) for _ in range(2))
    ids = products["id"].combine_chunks().cast(pa.large_string())
    for batch in run.warehouse.batches("recommendations", ["product_id"]):
        found = pc.index_in(batch.column("product_id").cast(pa.large_string()), value_set=ids)
        places += np.bincount(found.to_numpy(), minlength=len(products))
    for batch in run.warehouse.batches("interactions", ["product", "split"]):
        train = batch.filter(pc.equal(batch.column("split"), "train"))
        bought += np.bincount(train.column("product").to_numpy() - users, minlength=len(products))
    return Reach(places, bought, products["is_cold"].to_numpy(), users)


def gini(amounts: NDArray[np.int64]) -> float:
    """How unequal the amounts are: 0 when all are the same, near 1 when one has all; 0 when there is nothing."""
    total, n = amounts.sum(), len(amounts)
    if total == 0:
        return 0.0
    ranks = np.arange(1, n + 1)
    return float((2.0 * (ranks * np.sort(amounts)).sum() / total - (n + 1)) / n)


def long_tail(weight: NDArray[np.int64], bought: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cumulative shares of products, most bought first, and of ``weight``; both from 0 to 1.

    Products that were bought equally often have no order among them: they share one straight piece of the curve.
    """
    _, group = np.unique(-bought, return_inverse=True)
    products = np.concatenate(([0], np.cumsum(np.bincount(group))))
    weights = np.concatenate(([0.0], np.cumsum(np.bincount(group, weights=weight))))
    return products / len(bought), weights / max(1.0, weights[-1])


def coverage_chapter(run: Run, found: Reach) -> Chapter:
    """The chart, the numbers beside it, and who gets no list."""
    blocks: list[Block] = [Pictures([_picture(found)]), _numbers(found)]
    reasons: Counter[tuple[str, str]] = Counter()
    for batch in run.warehouse.batches("uncovered", ["node_type", "reason"]):
        reasons.update(zip(*(batch.column(name).to_pylist() for name in ("node_type", "reason")), strict=True))
    if reasons:
        rows = [[kind, reason, count(n)] for (kind, reason), n in sorted(reasons.items())]
        caption = "Users without a list and products that can be in none. Table uncovered."
        blocks.append(Grid(caption, ["what", "reason", "how many"], rows, words=True))
    text = (
        "A list that only repeats the best sellers helps nobody. These numbers say how far the published lists reach into "
        "the catalogue, and how much room they give to products that nobody has bought yet."
    )
    if not reasons:
        text += " Every user has a list and every product can be in one."
    return Chapter("Coverage and the long tail", [text], blocks)


def _picture(found: Reach) -> Picture:
    figure, axes = chart(6.6, 3.7)
    warm = float((~found.is_cold).mean())
    if warm < 1:
        axes.axvspan(100 * warm, 100, color=COLD, alpha=0.12, linewidth=0)
        axes.annotate("cold", (50 * (1 + warm), 4), ha="center", color=COLD, fontsize=8.5)
    axes.plot([0, 100], [0, 100], color=GREY, linewidth=1, linestyle="--", label="if all products were equal")
    for weight, color, label in ((found.bought, GREY, "purchases (train)"), (found.places, ACCENT, "places in lists")):
        products, shares = long_tail(weight, found.bought)
        axes.plot(100 * products, 100 * shares, color=color, linewidth=2, label=label)
    axes.set(xlabel="products, most bought first, %", ylabel="share, %", xlim=(0, 100), ylim=(0, 101))
    axes.legend(loc="lower right", bbox_to_anchor=(0.97, 0.06), fontsize=8.5)
    alt = f"Long tail: Gini of purchases {gini(found.bought):.2f}, of places in lists {gini(found.places):.2f}"
    caption = (
        "How much of all purchases (grey) and of all places in lists (blue) goes to the most bought products. The further a "
        "curve lies above the dashed line, the more it favours best sellers; blue below grey means that the lists reach "
        "further into the tail than purchases do. Tables recommendations, interactions and nodes."
    )
    return Picture(figure, alt, caption)


def _numbers(found: Reach) -> Grid:
    rows = [
        ["Places in lists", count(found.places.sum())],
        ["Products recommended at least once", f"{count((found.places > 0).sum())} of {count(len(found.places))}"],
        ["Share of the catalogue recommended", share(found.recommended)],
        ["Gini of places in lists (0 equal, 1 all on one)", f"{gini(found.places):.3f}"],
        ["Gini of purchases", f"{gini(found.bought):.3f}"],
        ["Cold products in the catalogue", share(float(found.is_cold.mean()))],
        ["Cold products in the lists", share(found.cold_places)],
    ]
    return Grid("Coverage in numbers. Tables recommendations, interactions and nodes.", ["measure", "value"], rows)
