"""How well the models rank what users bought: AUC, leads over the baselines, metrics of the first K."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from matplotlib.figure import Figure

from vasg.report.charts import ACCENT, GREY, chart
from vasg.report.page import Block, Chapter, Grid, Picture, Pictures, count, interval
from vasg.report.paper import published_auc, published_relations
from vasg.scoring.bootstrap import FEWEST_PAIRS
from vasg.scoring.metrics import CASES
from vasg.scoring.models import PUBLISHED

_WHERE = {
    ("warm", "setting"): "Among warm products", ("warm", "all"): "With a warm one among all products",
    ("cold", "setting"): "Among cold products", ("cold", "all"): "With a cold one among all products",
}  # fmt: skip
_KINDS = (
    "AUC by why a product has few or no purchases: warm few shot, at most five in training; cold natural, all that bought it "
    "happen to be held out; cold held out, on purpose."
)
_NOTHING = (
    "No test pair has another product to be compared with: nothing was held out (split.method or too few purchases), or "
    "users bought all there is. So there is nothing to measure."
)


@dataclass(frozen=True)
class Measured:
    """One value of the table metrics, with its 95 % interval, over ``n`` test pairs."""

    model: str
    value: float
    low: float
    high: float
    n: int

    @property
    def few(self) -> bool:
        """Whether these are too few pairs for the interval to be believed."""
        return self.n < FEWEST_PAIRS

    def text(self, sign: bool = False) -> str:
        """The value and its interval, or of how few pairs it is."""
        if self.few:
            return f"{self.value:{'+' if sign else ''}.3f} ({self.n} {'pair' if self.n == 1 else 'pairs'})"
        return interval(self.value, self.low, self.high, sign)


Metrics = dict[tuple[str, str, str], dict[str, Measured]]  # (setting, candidates, metric) -> model -> value


def read_metrics(table: pa.Table) -> Metrics:
    """The table metrics, by what was measured; empty without test pairs."""
    result: Metrics = {}
    for row in table.to_pylist():
        found = Measured(row["model"], row["value"], row["ci_low"], row["ci_high"], row["n"])
        result.setdefault((row["setting"], row["candidates"], row["metric"]), {})[row["model"]] = found
    return result


def sentences(metrics: Metrics) -> list[str]:
    """The result of the run in words."""
    if not metrics:
        return [_NOTHING]
    known = [setting for setting in ("warm", "cold") if (setting, "setting", "auc") in metrics]
    if not known:
        return ["No test pair has another product of its kind to be compared with: see the table for all products."]
    values = " and ".join(f"{metrics[s, 'setting', 'auc'][PUBLISHED].text()} on {s} products" for s in known)
    auc = f"AUC of the published model (95 % intervals from {FEWEST_PAIRS} test pairs on): {values}. "
    meaning = "It is the chance that a product the user did buy stands above another of its kind; guessing gives 0.5."
    leads = {where: metrics.get((*key, "auc_lead")) for key, where in _WHERE.items()}
    compared = [lead_sentence(where, [*found.values()]) for where, found in leads.items() if found]
    return [auc + meaning, *(compared or ["This run holds no paired comparison with baselines (auc_lead)."])]


def lead_sentence(where: str, leads: Sequence[Measured]) -> str:
    """Whether the published model leads every baseline ``where``: only a lead whose whole interval is above zero counts."""
    if leads[0].few:
        return f"{where} there are too few test pairs ({leads[0].n}) to tell it from the baselines."
    leads = sorted(leads, key=lambda lead: lead.value)
    level = [lead for lead in leads if lead.low <= 0 <= lead.high]
    behind = [lead for lead in leads if lead.high < 0]
    if not level and not behind:
        smallest = _named(leads[:1])
        if len(leads) == 1:
            return f"{where} it leads the one baseline, {smallest}."
        return f"{where} it leads every one of {len(leads)} baselines; the smallest lead is over {smallest}."
    others = (("level with", level), ("behind", behind))
    rest = "; ".join(f"it is {what} {_named(found)}" for what, found in others if found)
    return f"{where} it leads {len(leads) - len(level + behind)} of {len(leads)} baselines; {rest}."


def _named(leads: Sequence[Measured]) -> str:
    return " and ".join(f"{lead.model}, {lead.text(sign=True)}" for lead in leads)


def auc_chapter(metrics: Metrics) -> Chapter:
    """AUC of all models, measured and published."""
    groups = [key for key in CASES if (*key, "auc") in metrics]
    if not groups:
        return Chapter("AUC", [_NOTHING], [published_auc(), published_relations()])
    text = (
        "Each test pair is a product that a user bought and no model saw. Its AUC is the share of candidates that the "
        "model ranks below it, ties counting one half. Candidates are the products of the same kind (warm: bought in the "
        "training data; cold: by nobody) or all products, without what the user is known to have bought."
    )
    charts = [_auc_picture(setting, metrics[setting, "setting", "auc"]) for setting, c in groups if c == "setting"]
    intervals = "AUC with 95 % intervals, the best of each column in colour."
    blocks: list[Block] = [Pictures(charts), _auc_grid(metrics, groups, [CASES[key] for key in groups], intervals)]
    if any((*key, "auc_lead") in metrics for key in groups):
        blocks.append(_lead_grid(metrics, groups))
    kinds = [(setting, c) for setting, c, metric in metrics if metric == "auc" and (setting, c) not in CASES]
    if kinds:
        head = [f"{s.replace('_', ' ')} among {'all' if c == 'all' else s.partition('_')[0]}" for s, c in kinds]
        blocks.append(_auc_grid(metrics, kinds, head, _KINDS))
    return Chapter("AUC", [text], [*blocks, published_auc(), published_relations()])


def top_k_chapter(metrics: Metrics) -> Chapter | None:
    """Recall, NDCG and hit rate; None without test pairs."""
    names = [name for name in dict.fromkeys(name for _, _, name in metrics) if "@" in name]
    kinds = list(dict.fromkeys(name.partition("@")[0] for name in names))
    names.sort(key=lambda name: (kinds.index(name.partition("@")[0]), int(name.partition("@")[2])))
    if not names:
        return None
    grids = [_top_k_grid(metrics, setting, names) for setting in ("warm", "cold") if (setting, "all", "auc") in metrics]
    text = (
        "What users would notice: is the held-out product among the first K of all products, before score.max_cold_share "
        "bounds the places of cold ones in published lists? recall@K is "
        "the share of test pairs for which it is, hit_rate@K the share of users with at least one, and ndcg@K counts a "
        "place further down for less."
    )
    return Chapter("The first K places", [text], [*grids])


def _auc_picture(setting: str, found: dict[str, Measured]) -> Picture:
    ordered = sorted(found.values(), key=lambda measured: measured.value)
    values = ", ".join(f"{measured.model} {measured.value:.3f}" for measured in reversed(ordered))
    caption = (
        f"AUC on {count(ordered[0].n)} {setting} test pairs among {setting} products. Dots are means, bars 95 % bootstrap "
        f"intervals (from {FEWEST_PAIRS} pairs on), the dashed line is guessing. Intervals of two models may overlap although "
        "one leads: see the paired leads below. From the table metrics."
    )
    alt = f"AUC by model, {CASES[setting, 'setting']}: {values}"
    return Picture(_dots(ordered, f"{setting.capitalize()} products"), alt, caption)


def _dots(rows: Sequence[Measured], title: str) -> Figure:
    figure, axes = chart(4.8, 0.9 + 0.26 * len(rows), title)
    for place, row in enumerate(rows):
        color = ACCENT if row.model == PUBLISHED else GREY
        low, high = (row.value, row.value) if row.few else (row.low, row.high)
        axes.plot([low, high], [place, place], color=color, linewidth=2, solid_capstyle="round")
        axes.plot([row.value], [place], "o", color=color, markersize=6)
        axes.annotate(f"{row.value:.3f}", (high, place), (6, 0), textcoords="offset points", va="center", fontsize=8)
    axes.axvline(0.5, color=GREY, linewidth=1, linestyle="--")
    axes.set_yticks(range(len(rows)), [row.model for row in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.margins(x=0.12)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("AUC")
    return figure


def _auc_grid(metrics: Metrics, keys: Sequence[tuple[str, str]], head: Sequence[str], about: str) -> Grid:
    columns = [metrics[(*key, "auc")] for key in keys]
    models = _models(metrics)
    rows = [[model, *(column[model].text() for column in columns)] for model in models]
    pairs = {setting: next(iter(column.values())).n for (setting, _), column in zip(keys, columns, strict=True)}
    tested = ", ".join(f"{count(n)} {setting.replace('_', ' ')}" for setting, n in pairs.items())
    return Grid(f"{about} Test pairs: {tested}. Table metrics.", ["model", *head], rows, _best(models, columns))


def _lead_grid(metrics: Metrics, groups: Sequence[tuple[str, str]]) -> Grid:
    columns = [metrics[(*key, "auc_lead")] for key in groups]
    models = [model for model in _models(metrics) if model != PUBLISHED]
    rows = [[model, *(column[model].text(sign=True) for column in columns)] for model in models]
    clear = {
        (i, j) for i, model in enumerate(models) for j, column in enumerate(columns, 1) if _is_clear(column[model])
    }
    caption = (
        "How far the AUC of vasg is above each baseline's, paired over the same test pairs, with 95 % intervals. Clear "
        f"leads, with the whole interval above zero and from {FEWEST_PAIRS} pairs on, are in colour. Table metrics, auc_lead."
    )
    return Grid(caption, ["vasg over", *(CASES[key] for key in groups)], rows, frozenset(clear))


def _is_clear(lead: Measured) -> bool:
    return lead.low > 0 and not lead.few


def _top_k_grid(metrics: Metrics, setting: str, names: Sequence[str]) -> Grid:
    columns = [metrics[setting, "all", name] for name in names]
    models = _models(metrics)
    rows = [[model, *(f"{column[model].value:.4f}" for column in columns)] for model in models]
    caption = (
        f"{setting.capitalize()} test pairs, all products as candidates, the best of each column in colour. Table metrics, "
        "which also has the intervals."
    )
    head = ["model", *(name.replace("_", " ").replace("@", " @") for name in names)]
    return Grid(caption, head, rows, _best(models, columns))


def _best(models: Sequence[str], columns: Sequence[dict[str, Measured]]) -> frozenset[tuple[int, int]]:
    """(row, column) of the highest value in each column."""
    highest = [max(measured.value for measured in column.values()) for column in columns]
    return frozenset(
        (i, j) for i, model in enumerate(models) for j, (column, value) in enumerate(zip(columns, highest, strict=True), 1)
        if column[model].value == value
    )  # fmt: skip


def _models(metrics: Metrics) -> list[str]:
    """All models, the best first on warm products, or on cold ones where there is nothing else."""
    found = next(metrics[(*key, "auc")] for key in CASES if (*key, "auc") in metrics).values()
    return [measured.model for measured in sorted(found, key=lambda measured: -measured.value)]
