"""``vasg report``: read what is published, write one page."""

from pathlib import Path

from matplotlib import rc_context

from vasg.analysis.sections import sections
from vasg.analysis.thumbnails import thumbnails
from vasg.errors import OutputError
from vasg.report import coverage, quality
from vasg.report.analyses import analysis_chapter
from vasg.report.charts import STYLE
from vasg.report.funnel import funnel_chapter
from vasg.report.page import Headline, count, render, share
from vasg.report.run import Run, published_run
from vasg.report.run_card import run_card
from vasg.report.strips import strips_chapter
from vasg.report.training import training_chapter
from vasg.warehouse.files import make_directory, write_atomically


def report(root: str, out: str | None = None) -> Path:
    """Write the page about the tables under ``root``; returns where it is (default: ROOT/reports/RUN_ID.html).

    The page is about the published recommendations and what they were made from. Raises InputMissing when there are none
    or that is gone, and OutputError.
    """
    run = published_run(root)
    path = Path(out) if out else run.warehouse.root / "reports" / f"{run.run_id}.html"
    make_directory(path.parent)
    text = page(run)
    try:
        write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from None
    return path


def page(run: Run) -> str:
    """The page; the same for the same tables."""
    metrics, reach = quality.read_metrics(run.warehouse.read_arrow("metrics")), coverage.reach(run)
    with rc_context(STYLE):  # type: ignore[arg-type]
        chapters = [
            quality.auc_chapter(metrics), quality.top_k_chapter(metrics), strips_chapter(run, thumbnails),
            coverage.coverage_chapter(run, reach), training_chapter(run),
            *map(analysis_chapter, sections(run.warehouse, run.config)), funnel_chapter(run), run_card(run),
        ]  # fmt: skip
        return render(_headline(run, quality.sentences(metrics), reach), [c for c in chapters if c is not None])


def _headline(run: Run, sentences: list[str], reach: coverage.Reach) -> Headline:
    reviews, cold = run.config.reviews, int(reach.is_cold.sum())
    category = f", category {reviews.category}" if reviews.category else ""
    subtitle = f"{Path(reviews.path).name}{category} · run {run.run_id} · seed {run.config.seed}"
    cards = [
        (count(reach.users), "users"),
        (count(len(reach.is_cold) - cold), "warm products"),
        (count(cold), "cold products"),
        (count(reach.bought.sum()), "training pairs"),
        (share(reach.recommended), "of the catalogue is in at least one list"),
        (share(reach.cold_places), "of the places in lists are held by cold products"),
    ]
    return Headline("VASG: what was recommended, and how well", subtitle, sentences, cards)
