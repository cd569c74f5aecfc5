"""How a ranking of validation pairs is judged, whatever is being chosen by it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def auc(own: NDArray[Any], rest: NDArray[Any], known: NDArray[np.bool_]) -> float:
    """Mean over n pairs of the share of the candidates not known to the user that the pair's product outranks.

    ``own`` [n] scores of the pairs, ``rest`` [n, m] of the candidates for their users, ``known`` [n, m] candidates left
    out. Ties count one half.
    """
    won = ((own[:, None] > rest) + 0.5 * (own[:, None] == rest)) * ~known
    return float((won.sum(1) / np.maximum((~known).sum(1), 1)).mean())
