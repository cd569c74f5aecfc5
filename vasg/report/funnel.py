"""From raw lines to training pairs: what is left after each step, and where the rest went."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from matplotlib.figure import Figure

from vasg.config_file import load
from vasg.report.charts import ACCENT, DROPPED, GREY, chart
from vasg.report.page import Block, Chapter, Grid, Picture, Pictures, count
from vasg.report.run import Run
from vasg.scoring.inputs import SPLITS


@dataclass(frozen=True)
class Step:
    """So many records are here; those that ``leave`` before the next step do so for these reasons."""

    name: str
    records: int
    leave: dict[str, int] = field(default_factory=dict)


def purchases(run: Run) -> list[Step]:
    """Records of purchases, from the raw files to the training pairs; empty where the stages kept no counts."""
    read, split = run.counts("preprocess_reviews"), run.counts("filter_users")
    if not read or not split:
        return []
    settings = load(run.warehouse.configuration("interactions")).split  # of the run that counted
    taking_part = {name: split[name] for name in SPLITS}
    held_out = {f"held out: {name.replace('_', ', ')}": n for name, n in taking_part.items() if name != "train"}
    return _balanced([
        Step("raw records", read["reviews read"], _bad(read, "reviews")),
        Step("usable purchases", split["reviews"], {"repeats of a pair": split["repeats_removed"]}),
        Step(
            "distinct pairs of user and product", split["reviews"] - split["repeats_removed"],
            {"product without a picture": split["pairs_without_feature"] if settings.missing_features == "drop" else 0}
            | {f"user with fewer than {settings.min_user_products} products": split["pairs_dropped"]},
        ),
        Step("pairs that take part", sum(taking_part.values()), held_out),
        Step("training pairs", split["train"]),
    ])  # fmt: skip


def image_features(run: Run) -> list[Step]:
    """Records of pictures, from the raw files to the image features; empty where the stages kept no counts."""
    from_file, extracted = run.counts("preprocess_reviews"), run.counts("extract_features")
    if extracted:
        reasons = {k: n for k, n in extracted.items() if k not in ("pictures", "unchanged", "rejected", "encoder")}
        first = Step("pictures", extracted["pictures"], reasons)
        stage = "extract_features"
    elif "features read" in from_file:
        first = Step("records of the feature file", from_file["features read"], _bad(from_file, "features"))
        stage = "preprocess_reviews"
    else:
        return []
    return _balanced([first, Step("image features", run.summaries[stage]["rows_out"]["image_features"])])


def _bad(counts: Mapping[str, Any], kind: str) -> dict[str, int]:
    """Why records of one kind were not used, as preprocess_reviews counted it."""
    mark = f"{kind} bad, "
    reasons = {name.removeprefix(mark): n for name, n in counts.items() if name.startswith(mark)}
    other = f"{kind} of other categories"
    return reasons | ({"of other categories": counts[other]} if other in counts else {})


def _balanced(steps: list[Step]) -> list[Step]:
    """Whatever the reasons do not explain becomes a reason of its own, so that the numbers always add up."""
    result = []
    for step, after in pairwise(steps):
        missing = step.records - sum(step.leave.values()) - after.records
        result.append(Step(step.name, step.records, step.leave | ({"not explained": missing} if missing else {})))
    return [*result, steps[-1]]


def funnel_chapter(run: Run) -> Chapter:
    """Both funnels, and what training made of the pairs."""
    blocks: list[Block] = []
    for steps, what in ((purchases(run), "purchases"), (image_features(run), "pictures")):
        if steps:
            blocks += [Pictures([_picture(steps, what)])] if what == "purchases" else []
            blocks.append(_grid(steps, what))
    if not blocks:
        return Chapter("From raw lines to training pairs", ["The stages that read raw data left no counts here."])
    text = (
        "Every record that was read is either in the training data or counted here with the reason why not. The records "
        "themselves are in the tables rejects and rejected_pictures."
    )
    return Chapter("From raw lines to training pairs", [text, *_walks(run)], blocks)


def _walks(run: Run) -> list[str]:
    """From training pairs to what Skip-Gram saw."""
    if not run.warehouse.has("training_log") or not run.warehouse.has("walks"):
        return []
    manifest = run.warehouse.manifest("walks")
    log = run.warehouse.read_arrow("training_log").to_pylist()
    pairs = [row["value"] for row in log if (row["phase"], row["quantity"]) == ("skipgram", "pairs")]
    seen = f", which give {count(pairs[0])} pairs of center and context an epoch" if pairs else ""
    walks, length = count(manifest["rows"]), manifest["facts"]["walk_length"]
    return [f"Over the training pairs go {walks} random walks of {length} nodes{seen}."]


def _picture(steps: list[Step], what: str) -> Picture:
    alt = f"Funnel of {what}: " + ", ".join(f"{step.name} {count(step.records)}" for step in steps)
    caption = (
        "Blue is what is left at each step, orange what leaves before the next one. From what the stages "
        "preprocess_reviews and filter_users counted."
    )
    return Picture(_bars(steps), alt, caption)


def _bars(steps: list[Step]) -> Figure:
    figure, axes = chart(6.6, 0.5 + 0.5 * len(steps))
    for place, step in enumerate(steps):
        leave = sum(step.leave.values())
        axes.barh(place, step.records - leave, color=ACCENT, height=0.55)
        axes.barh(place, leave, left=step.records - leave, color=DROPPED, height=0.55)
        label = f"{count(step.records)}" + (f"  (-{count(leave)})" if leave else "")
        axes.annotate(label, (step.records, place), (5, 0), textcoords="offset points", va="center", fontsize=8.5)
    axes.set_yticks(range(len(steps)), [step.name for step in steps])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.22 * max(step.records for step in steps))
    axes.set_xticks([])
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    axes.spines["left"].set_color(GREY)
    return figure


def _grid(steps: list[Step], what: str) -> Grid:
    rows = []
    for step in steps:
        rows.append([step.name, count(step.records), ""])
        rows += [[f"less: {reason}", "", f"-{count(n)}"] for reason, n in step.leave.items() if n]
    strong = frozenset((i, 1) for i, row in enumerate(rows) if row[1])
    return Grid(f"The numbers behind it, for {what}.", ["step", "records", "leave"], rows, strong)
