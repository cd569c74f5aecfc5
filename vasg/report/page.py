"""The page: what it can hold, and how that becomes one HTML file that asks nobody for anything.

Every text is escaped by the template. Pictures are embedded; a policy in the page itself forbids scripts and requests.
"""

import base64
import io
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jinja2
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

_PHOTO_DPI = 120


@dataclass(frozen=True)
class Picture:
    """A figure with its caption; ``alt`` says what it shows to those who do not see it. A ``chart`` has no photographs."""

    figure: Figure
    alt: str
    caption: str
    chart: bool = True

    @property
    def src(self) -> str:
        """The figure as a data URI: charts as SVG, the same bytes for the same data; others, which are larger, as WebP."""
        buffer = io.BytesIO()
        if self.chart:
            self.figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
            return data_uri("image/svg+xml", buffer.getvalue())
        self.figure.savefig(
            buffer, format="webp", dpi=_PHOTO_DPI, bbox_inches="tight", facecolor="white", pil_kwargs={"quality": 85}
        )
        return data_uri("image/webp", buffer.getvalue())


@dataclass(frozen=True)
class Pictures:
    """Figures side by side where there is room."""

    kind: ClassVar[str] = "pictures"
    pictures: list[Picture]


@dataclass(frozen=True)
class Grid:
    """A table; the first cell of a row names it.

    ``strong`` holds (row, column) of what stands out. A table of ``words`` has no numbers, a ``narrow`` one leaves room beside
    it, and a ``folded`` one is opened by those who want it.
    """

    kind: ClassVar[str] = "grid"
    caption: str
    head: list[str]
    rows: list[list[str]]
    strong: frozenset[tuple[int, int]] = frozenset()
    words: bool = False
    narrow: bool = False
    folded: bool = False


@dataclass(frozen=True)
class Tile:
    """A product: its thumbnail as a data URI, or none, and a remark below it."""

    product_id: str
    src: str | None = None
    note: str = ""
    is_cold: bool = False


@dataclass(frozen=True)
class Strip:
    """What a user bought, what was held out, and what is recommended."""

    user_id: str
    groups: list[tuple[str, list[Tile]]]  # heading and products


@dataclass(frozen=True)
class Strips:
    """One strip a user."""

    kind: ClassVar[str] = "strips"
    caption: str
    strips: list[Strip]


Block = Pictures | Grid | Strips


@dataclass(frozen=True)
class Chapter:
    """One entry of the table of contents: paragraphs, then what they speak of."""

    title: str
    paragraphs: list[str] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)


@dataclass(frozen=True)
class Headline:
    """The top of the page: what it is about, sentences that sum it up, and (number, meaning) beside them."""

    title: str
    subtitle: str
    sentences: list[str]
    cards: list[tuple[str, str]]


def render(headline: Headline, chapters: list[Chapter]) -> str:
    """The whole file."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vasg.report", "."), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html").render(headline=headline, chapters=chapters)


def thumbnail_uri(pixels: NDArray[np.uint8]) -> str:
    """An RGB array [height, width, 3] as a JPEG in a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="jpeg", quality=80, optimize=True)
    return data_uri("image/jpeg", buffer.getvalue())


def data_uri(media_type: str, content: bytes) -> str:
    """The content itself as an address."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def count(number: Any) -> str:
    """A whole number for people."""
    return f"{int(number):,}"


def share(fraction: float) -> str:
    """A fraction as a percentage."""
    return f"{fraction:.1%}".replace("%", " %")


def interval(value: float, low: float, high: float, sign: bool = False) -> str:
    """A value and its interval."""
    return f"{value:{'+' if sign else ''}.3f} ({low:.3f} to {high:.3f})"
