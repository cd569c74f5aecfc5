"""IBR: a distance between pictures that is small for products that are bought together.

McAuley, Targett, Shi and van den Hengel, "Image-based recommendations on styles and substitutes", SIGIR 2015: with
d(i, j) = |(x_i - x_j) Y|^2 for features x [I] and Y [I, rank], a pair is related with probability sigmoid(c - d), and Y and c
maximise the likelihood of the pairs of R and Q, by L-BFGS.

With g_ij = dL / dd_ij as edge weights, the gradient is 2 X^T K X Y, where K is the Laplacian of that weighted graph of pairs:
an iteration costs two products with the features of the products, however many pairs there are.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, minimize
from scipy.sparse import csr_array, diags_array
from scipy.special import expit, log_expit

from vasg.analysis.pairs import Pairs
from vasg.analysis.separation import auc
from vasg.features.components import fitted_products, principal_components

_COMPONENTS = 512  # of the features: what varies less is left out, so that an iteration takes seconds at 4,096 numbers
_ITERATIONS = 200
_PATIENCE = 20  # iterations without a better one

Floats = NDArray[np.float32]


def looks(features: NDArray[Any], usable: NDArray[np.bool_], warm: int, seed: int) -> Floats:
    """[P, k] principal components of features of length 1, fitted on warm products, mean squared length 1.

    One of zeros where pictures are all alike.
    """
    found = principal_components(features, usable, warm, _COMPONENTS, seed)
    if not found.shape[1]:
        return np.zeros((len(found), 1), np.float32)
    variance = found[fitted_products(usable, warm)].var(0, ddof=1, dtype=np.float64).sum()
    return found * np.float32(variance**-0.5)


def positions(looks: Floats, train: Pairs, validation: Pairs, rank: int) -> Floats:
    """[P, rank] the places x Y of all products: the nearer two of them, the likelier they are bought together.

    Starts from the first principal components. Of the iterations, the one with the highest AUC on the validation pairs is
    kept: the later ones fit the training pairs only.
    """
    rank = min(rank, looks.shape[1])
    start = np.append(np.eye(looks.shape[1], rank).ravel(), 1.0)
    best: dict[str, Any] = {"auc": -1.0, "places": None, "age": 0}

    def keep_best(intermediate_result: Any) -> None:
        places = looks @ intermediate_result.x[:-1].reshape(-1, rank).astype(np.float32)
        reached = auc(*(-squared_distance(places, pairs) for pairs in (validation.related, validation.unrelated)))
        if reached > best["auc"]:
            best.update(auc=reached, places=places, age=0)
        best["age"] += 1
        if best["age"] > _PATIENCE:
            raise StopIteration

    keep_best(OptimizeResult(x=start))
    options = {"maxiter": _ITERATIONS}
    minimize(loss, start, (looks, train), method="L-BFGS-B", jac=True, callback=keep_best, options=options)
    found: Floats = best["places"]
    return found


def loss(values: NDArray[np.float64], looks: Floats, pairs: Pairs) -> tuple[float, NDArray[np.float64]]:
    """Mean negative log-likelihood of the pairs and its gradient; ``values`` are Y [k, rank], row by row, then c.

    ln 2 where nothing tells R from Q.
    """
    axes, shift = values[:-1].reshape(looks.shape[1], -1).astype(np.float32), values[-1]
    places = looks @ axes  # [P, rank]
    both = np.concatenate([pairs.related, pairs.unrelated])  # [2n, 2]
    related = np.arange(len(both)) < len(pairs.related)
    margin = shift - squared_distance(places, both).astype(np.float64)
    value = -log_expit(np.where(related, margin, -margin)).mean()
    slope = (related - expit(margin)) / len(both)  # of the loss with the distance, [2n]
    weights = csr_array((slope.astype(np.float32), (both[:, 0], both[:, 1])), (len(looks),) * 2)
    weights = weights + weights.T
    laplacian = diags_array(weights.sum(axis=0)) - weights  # [P, P]
    gradient = 2 * (looks.T @ (laplacian @ places))
    return float(value), np.append(gradient.astype(np.float64).ravel(), -slope.sum())


def squared_distance(places: Floats, pairs: NDArray[np.int64]) -> Floats:
    """[n] of the pairs [n, 2]."""
    found = np.empty(len(pairs), np.float32)
    for begin in range(0, len(pairs), 1 << 14):
        apart = places[pairs[begin : begin + (1 << 14), 0]] - places[pairs[begin : begin + (1 << 14), 1]]
        found[begin : begin + len(apart)] = np.einsum("nr,nr->n", apart, apart)
    return found
