"""What the pictures of the analyses have in common."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from numpy.typing import NDArray

# Okabe and Ito's colours, which people with any colour vision tell apart.
BLUE, ORANGE, GREEN, PINK = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
GREY = "#888888"
_ZOOM = 0.45  # of a framed picture


def interval_dots(axes: Axes, rows: Any, table: Sequence[dict[str, Any]], name: str, **style: Any) -> None:
    """A dot at column ``name`` of each row of ``table``, a line from NAME_low to NAME_high, at heights ``rows``."""
    value, low, high = (np.array([row[key] for row in table], float) for key in (name, f"{name}_low", f"{name}_high"))
    reach = np.maximum([value - low, high - value], 0)
    axes.errorbar(value, rows, xerr=reach, linestyle="none", markersize=6, capsize=3, **style)


def framed(axes: Axes, at: Any, picture: NDArray[np.uint8], colour: str, dashed: bool = False) -> None:
    """A picture [h, w, 3] in a frame, centred at ``at`` (x, y) in the units of the axes."""
    frame = {
        "edgecolor": colour,
        "linewidth": 2 if colour != GREY else 0.5,
        "linestyle": (0, (2, 1)) if dashed else "-",
    }
    box = AnnotationBbox(OffsetImage(picture, zoom=_ZOOM), at, frameon=True, pad=0.08, bboxprops=frame)
    axes.add_artist(box)
