"""Can a score tell products that are bought together from those that are not? (paper, section 4.3 and table 3)"""

from collections.abc import Callable, Iterator
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vasg.analysis import ibr
from vasg.analysis.drawing import BLUE, GREY, ORANGE, interval_dots
from vasg.analysis.inputs import Inputs
from vasg.analysis.pairs import Kind, Pairs, pair_sets
from vasg.analysis.section import Section
from vasg.analysis.separation import auc, best_threshold, correct, cosine, placements
from vasg.scoring.bootstrap import mean_intervals

MOST_PAIRS = 200_000  # of R in each part
_RANK = 100  # of IBR, as in the paper
_PAPER = {"inn": (0.654, 0.693), "ibr": (0.833, 0.897), "vasg": (0.794, 0.816)}  # table 3, over four Amazon data sets
_NAMES = {"popularity": "popularity", "inn": "INN: pictures", "ibr": "IBR: trained pictures", "vasg": "VASG: vectors"}

Score = Callable[[NDArray[np.int64]], NDArray[Any]]  # of pairs [n, 2]: the higher, the likelier they are related


def relations(inputs: Inputs, seed: int, resamples: int) -> pa.Table:
    """Accuracy and AUC of every method on the test pairs, with 95 % intervals; empty without test or validation pairs.

    One row for each way to make Q (``unrelated``), kind of the first product (``products``: all, warm or cold) and method.
    The threshold is the one with the highest accuracy on all validation pairs. ``lead`` is VASG's accuracy less the
    method's. Users and first products are resampled at once; the AUC's interval is that of its placements, which is the
    AUC's to first order.
    """
    rows: list[dict[str, Any]] = []
    all_sets = {kind: pair_sets(inputs.purchases, inputs.comparable, kind, seed, MOST_PAIRS) for kind in get_args(Kind)}
    measured = {kind: sets for kind, sets in all_sets.items() if all(len(pairs.user) for pairs in sets.values())}
    if not measured:
        return pa.table({})
    looks = ibr.looks(inputs.features, inputs.comparable, inputs.purchases.warm, seed)
    for kind, sets in measured.items():
        scores = _scores(inputs, looks, sets)
        validation, test = sets["validation"], sets["test"]
        thresholds = {
            name: best_threshold(score(validation.related), score(validation.unrelated))
            for name, score in scores.items()
        }
        found = {name: (score(test.related), score(test.unrelated)) for name, score in scores.items()}
        cold = inputs.purchases.is_cold[test.related[:, 0]]
        for products, chosen in {"all": cold | ~cold, "warm": ~cold, "cold": cold}.items():
            if chosen.any():
                part = {name: (r[chosen], q[chosen]) for name, (r, q) in found.items()}
                for row in _rows(part, thresholds, test.related[chosen, 0], test.user[chosen], resamples, seed):
                    rows.append({"unrelated": kind, "products": products, **row})
    return pa.Table.from_pylist(rows)


def _scores(inputs: Inputs, looks: NDArray[np.float32], sets: dict[str, Pairs]) -> dict[str, Score]:
    sold = np.log1p(inputs.purchases.per_product("train"))
    places = ibr.positions(looks, sets["train"], sets["validation"], _RANK)
    return {
        "popularity": lambda pairs: sold[pairs].sum(axis=1),
        "inn": lambda pairs: cosine(inputs.features, pairs),
        "ibr": lambda pairs: -ibr.squared_distance(places, pairs),
        "vasg": lambda pairs: cosine(inputs.products, pairs),
    }


def _rows(
    scores: dict[str, tuple[NDArray[Any], NDArray[Any]]], thresholds: dict[str, float], product: NDArray[np.int64],
    user: NDArray[np.int64], resamples: int, seed: int,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """A row a method. The value of a pair of R and its stand-in in Q is the mean over the two."""
    right = {name: np.mean(correct(*pair, thresholds[name]), axis=0) for name, pair in scores.items()}
    areas = {name: auc(*pair) for name, pair in scores.items()}
    columns = []
    for name, pair in scores.items():
        columns += [right[name], sum(placements(*pair)) - areas[name], right["vasg"] - right[name]]
    low, high = mean_intervals(np.column_stack(columns), user, product, True, resamples, seed)
    for i, (name, correct_share) in enumerate(right.items()):
        accuracy = correct_share.mean()
        values = {"accuracy": accuracy, "auc": areas[name], "lead": right["vasg"].mean() - accuracy}
        row: dict[str, Any] = {"method": name}
        for j, (quantity, value) in enumerate(values.items(), 3 * i):
            row |= {quantity: float(value), f"{quantity}_low": low[j], f"{quantity}_high": high[j]}
        yield row | {"threshold": thresholds[name], "pairs": len(user)}


def draw(table: pa.Table) -> Figure:
    """Accuracy and AUC of the methods over all test pairs, with the range that the paper reports."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    names = list(_NAMES)[::-1]
    for axes, quantity in zip(figure.subplots(1, 2, sharey=True), ("accuracy", "auc"), strict=True):
        for kind, colour, marker, shift in (("random", BLUE, "o", 0.12), ("matched", ORANGE, "s", -0.12)):
            chosen = (pc.field("unrelated") == kind) & (pc.field("products") == "all")
            rows = table.filter(chosen).to_pylist()
            at = [names.index(row["method"]) + shift for row in rows]
            interval_dots(axes, at, rows, quantity, color=colour, marker=marker, label=f"unrelated pairs: {kind}")
        axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":", label="guessing")
        axes.set_yticks(range(len(names)), [_NAMES[name] for name in names])
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel({"accuracy": "accuracy at the validation threshold", "auc": "AUC"}[quantity])
        if quantity == "accuracy":
            for name, (low, high) in _PAPER.items():
                label = "the paper, Amazon data" if name == "inn" else None
                axes.plot([low, high], [names.index(name)] * 2, color=GREY, linewidth=6, alpha=0.5, label=label)
            handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def section(inputs: Inputs, seed: int, resamples: int) -> Section:
    """The analysis for the report."""
    title, table = "Product relations", relations(inputs, seed, resamples)
    if not len(table):
        return Section(
            title, "Not measured: this needs pictures, and users with products held out for validation and for test."
        )
    pairs = {row["unrelated"]: row["pairs"] for row in table.to_pylist() if row["products"] == "all"}
    counts = " and ".join(f"{count:,} ({kind} Q)" for kind, count in pairs.items())
    text = (
        "Two products are related when one user bought both; shops' own lists of what was also bought are not used. R "
        f"holds related pairs, Q as many pairs that nobody bought together, {counts} each for the test. A related test "
        "pair is a user's test product and one of the user's train products; pairs that anyone bought together in train "
        "or validation are left out, so that no method has seen them; with them go many of the popular products. A user with "
        "many purchases has many pairs.\n\n"
        "Each method calls a pair related when its score is above the threshold that is best on validation pairs. INN: "
        "cosine of the image features. IBR: a distance of rank 100 between features, trained on pairs of train purchases "
        f"(McAuley et al. 2015; at most about {MOST_PAIRS:,} pairs of R, stopped on validation). VASG: cosine of the "
        "published vectors, without a product's bias. Guessing gives 0.5.\n\n"
        "Random Q, the paper's, draws products evenly, a cold one for a cold one. Popular products are in more related "
        "pairs, so that popularity alone tells R from Q; a score is worth what it has beyond that. Matched Q lets the pairs "
        "of R change their second products, so that every product is as often in Q as in R and popularity tells little. "
        "Pairs for which no unrelated partner is found are left out of both, which happens in small and dense shops. Lines "
        "are 95 % bootstrap intervals over users and test products. lead is the accuracy of VASG less that of the method. "
        "The threshold comes from all validation pairs, mostly of warm products: for cold products read the AUC first."
    )
    return Section(title, text, [draw(table)], table)
