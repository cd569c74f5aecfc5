"""The paper's analyses as chapters."""

from typing import Any

import pyarrow as pa

from vasg.analysis.section import Section
from vasg.report.page import Block, Chapter, Grid, Picture, Pictures, count

_MOST_ROWS, _OPEN_ROWS = 200, 8  # of a table: shown at all, shown at once


def analysis_chapter(section: Section) -> Chapter:
    """Paragraphs are parted by empty lines in the section's text; every figure has the whole width."""
    paragraphs = [text.strip() for text in section.text.split("\n\n") if text.strip()]
    number = len(section.figures)
    blocks: list[Block] = [
        Pictures([Picture(figure, f"{section.title}, picture {i} of {number}, described in the text", "", chart=False)])
        for i, figure in enumerate(section.figures, start=1)
    ]
    return Chapter(section.title, paragraphs, [*blocks, *([_grid(section.table)] if section.table is not None else [])])


def _grid(table: pa.Table) -> Grid:
    """The table; the columns X, X_low and X_high become one."""
    names = table.column_names
    ends = {
        f"{name}_{end}" for name in names for end in ("low", "high") if {f"{name}_low", f"{name}_high"} <= set(names)
    }
    shown = [name for name in names if name not in ends]
    rows = [[_cell(row, name) for name in shown] for row in table.slice(0, _MOST_ROWS).to_pylist()]
    intervals = " Intervals are in parentheses." if ends else ""
    left_out = f" The first {_MOST_ROWS} of {count(len(table))} rows." if len(table) > _MOST_ROWS else ""
    head = [name.replace("_", " ") for name in shown]
    return Grid(f"The numbers.{intervals}{left_out}", head, rows, folded=len(rows) > _OPEN_ROWS)


def _cell(row: dict[str, Any], name: str) -> str:
    ends = [row[end] for end in (f"{name}_low", f"{name}_high") if end in row]
    text = _text(row[name])
    return f"{text} ({_text(ends[0])} to {_text(ends[1])})" if len(ends) == 2 and row[name] is not None else text


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {None: "-", True: "yes", False: "no"}[value]
    if isinstance(value, float):
        return f"{value:.3g}"
    return count(value) if isinstance(value, int) else str(value)
