"""The AUC of anybody's vectors on the pairs of a finished run, one number a pair."""

import numpy as np
from numpy.typing import NDArray

from vasg.scoring.inputs import Purchases


def auc(
    purchases: Purchases, users: NDArray[np.float32], products: NDArray[np.float32], split: str
) -> NDArray[np.float64]:
    """AUC of each pair of ``split`` among the products of its kind that its user is not known to have bought.

    Scores are ``users @ products.T``. The kind, warm or cold, is how the split's name ends.
    """
    cold, starts = split.endswith("cold"), purchases.row_starts()
    ranked = np.arange(purchases.warm, purchases.products) if cold else np.arange(purchases.warm)
    chosen = np.flatnonzero(purchases.of(split))
    found = np.empty(len(chosen))
    for n, at in enumerate(chosen):
        buyer = purchases.user[at]
        scores, own = products[ranked] @ users[buyer], products[purchases.product[at]] @ users[buyer]
        rest = scores[~np.isin(ranked, purchases.product[starts[buyer] : starts[buyer + 1]])]
        found[n] = ((rest < own) + 0.5 * (rest == own)).mean()
    return found
