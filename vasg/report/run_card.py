"""How the published tables came to be: configuration, versions, machine, seconds."""

from collections.abc import Iterator
from typing import Any

from vasg.config import Config, to_dict
from vasg.report.page import Block, Chapter, Grid, count
from vasg.report.run import Run


def run_card(run: Run) -> Chapter:
    """Everything needed to judge a number of this page, or to make it again."""
    seconds = sum(summary.get("seconds", 0.0) for summary in run.summaries.values())
    text = (
        f"Run {run.run_id}, seed {run.config.seed}. The stages took {seconds:,.1f} seconds in all. The complete "
        "configuration lies beside every table as _config.toml."
    )
    blocks: list[Block] = [_stages(run), _made_with(run), _differences(run.config)]
    return Chapter("Run card", [text], blocks)


def _stages(run: Run) -> Grid:
    rows = [
        [
            stage, f"{summary.get('seconds', 0.0):,.1f}", summary["run_id"],
            ", ".join(f"{table} {count(n)}" for table, n in summary.get("rows_out", {}).items()),
        ]
        for stage, summary in run.summaries.items()
    ]  # fmt: skip
    caption = "When each stage last had something to do: seconds, run and rows written. From the catalog."
    return Grid(caption, ["stage", "seconds", "run", "rows written"], rows, words=True)


def _made_with(run: Run) -> Grid:
    """Each version once; several where stages ran in different installations."""
    found: dict[str, dict[str, None]] = {}
    for summary in run.summaries.values():
        for name, version in summary.get("made_with", {}).items():
            found.setdefault(name, {})[version] = None
    rows = [[name, ", ".join(versions)] for name, versions in found.items()] or [
        ["versions", "not recorded by this run"]
    ]
    caption = (
        "Versions and machine, as the stages recorded them when they ran; several where they differ between stages."
    )
    return Grid(caption, ["what", "version"], rows, words=True)


def _differences(config: Config) -> Grid:
    default = dict(_leaves(to_dict(Config())))
    rows = [
        [name, str(value), str(default[name])] for name, value in _leaves(to_dict(config)) if value != default[name]
    ]
    caption = "Settings that differ from the defaults." if rows else "All settings have their defaults."
    return Grid(caption, ["setting", "here", "default"], rows, words=True)


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """("section.key", value) of every setting."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
