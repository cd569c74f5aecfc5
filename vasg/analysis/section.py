"""What an analysis hands to the report."""

from dataclasses import dataclass, field

import pyarrow as pa
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Section:
    """One part of the report: a heading, what it shows and how it was computed, pictures and a table."""

    title: str
    text: str
    figures: list[Figure] = field(default_factory=list)
    table: pa.Table | None = None
