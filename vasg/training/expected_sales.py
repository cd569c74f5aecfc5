"""What pictures say of how well a product sells: all that is known of one that nobody bought yet.

Poisson regression of the train purchases of warm products on the principal components of their pictures and on the
products of the first few of them. Where the tastes of many users meet, products sell: were tastes normal over the users
and choice a logit (mixed logit, McFadden and Train 2000), the logarithm of sales would be a quadratic of the picture.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import PoissonRegressor
from sklearn.preprocessing import PolynomialFeatures

from vasg.features.components import fitted_products, transformed

_COMPONENTS, _SQUARED = 64, 8
_PENALTIES = (10.0, 1.0, 0.1, 1e-2, 1e-3, 1e-4)  # on coefficients, strongest first; products held out choose
_FOLDS, _ENOUGH = 5, 20_000  # each product is left out once, where there are many only some
_SURE = 1.5  # standard errors that the gain of products held out must exceed: a few best-sellers are easily foretold by chance
_FEWEST = 50  # products with a picture; fewer tell nothing

Floats = NDArray[np.float32]


def expected_sales(pictures: Floats, has_feature: NDArray[np.bool_], sold: NDArray[Any], warm: int) -> Floats:
    """[P] train purchases to be expected of each product by its picture.

    ``pictures`` [P, k] are principal components, ``sold`` [warm] the train purchases of warm products. The mean of ``sold``
    where a product has no picture; and everywhere, unless pictures clearly foretell the sales of products held out better.
    Nothing of a product from ``warm`` on enters the fit, and none is expected to sell beyond the range of those in it.
    """
    expected = np.full(len(pictures), sold.mean(), np.float32)
    fitted = fitted_products(has_feature, warm)
    counts = sold[fitted]
    if not pictures.size or len(fitted) < _FEWEST or not counts.any():
        return expected
    deviation = np.float32(max(float(pictures[fitted, 0].std()), 1e-12))
    regressors = _regressors(pictures[fitted], deviation)
    best, chosen = 0.0, None
    for penalty in _PENALTIES:
        gain = _gains(regressors, counts, penalty)
        if gain.size and gain.mean() > max(best, _SURE * float(gain.std()) / len(gain) ** 0.5):
            best, chosen = float(gain.mean()), penalty
    if chosen is None:
        return expected
    model = _Model(regressors, counts, chosen)
    found = transformed(pictures, has_feature, 1, lambda rows: model.log_mean(_regressors(rows, deviation))[:, None])
    expected[has_feature] = np.exp(found[has_feature, 0])
    return expected


def _gains(regressors: Floats, sold: NDArray[Any], penalty: float) -> NDArray[np.float64]:
    """How much smaller the Poisson deviance of a product is by its picture than by the mean, for products left out of both."""
    fold, gains = np.arange(len(sold)) % _FOLDS, [np.zeros(0)]
    for k in range(min(_FOLDS, -(-_ENOUGH * _FOLDS // len(sold)))):
        asked, seen = sold[fold == k], sold[fold != k]
        if seen.any():
            promised = _Model(regressors[fold != k], seen, penalty).log_mean(regressors[fold == k])
            mean = np.log(seen.mean())
            gains.append(2 * (asked * (promised - mean) - np.exp(promised) + np.exp(mean)))
    return np.concatenate(gains)


class _Model:
    """A fit whose predictions stay within the range of what it was fitted on."""

    def __init__(self, regressors: Floats, sold: NDArray[Any], penalty: float) -> None:
        fit = PoissonRegressor(alpha=penalty, solver="newton-cholesky").fit(regressors.astype(np.float64), sold)
        self._slope, self._start = fit.coef_, fit.intercept_
        self._range = -np.inf, np.inf
        found = self.log_mean(regressors)
        self._range = found.min(), found.max()

    def log_mean(self, regressors: Floats) -> NDArray[np.float64]:
        """[n] logarithm of the sales to be expected, for ``regressors`` [n, k]."""
        found: NDArray[np.float64] = np.clip(regressors @ self._slope + self._start, *self._range)
        return found


def _regressors(pictures: Floats, deviation: np.float32) -> Floats:
    """[n, k'] components, the first with variance 1, and the products of the first few."""
    scaled = pictures[:, :_COMPONENTS] / deviation
    squares = PolynomialFeatures(2, include_bias=False).fit_transform(scaled[:, :_SQUARED])
    return np.hstack([squares, scaled[:, _SQUARED:]]).astype(np.float32)
