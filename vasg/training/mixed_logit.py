"""What pictures say of taste by a model of how purchases come about: a logit whose coefficients differ between users.

A user of taste z buys product p with probability w_p exp(z . x_p) / Z(z), where Z(z) = sum_q w_q exp(z . x_q) (conditional
logit, McFadden 1974); tastes are normal over the users (mixed logit, McFadden and Train 2000). x are principal components
of the pictures, w the purchases of a product. The sum over all products would cost users x products. As pictures crowd
together, the catalogue is a mixture of normal distributions with shares pi, centres m and one covariance S, and then

    log Z(z) = log sum_c pi_c exp(z . m_c) + z' S z / 2.

A user's taste is the mode of its posterior, by Newton's method; the covariance of tastes over users comes from EM, with
the posterior taken as normal around its mode. A mean picture is this to first order: what it lacks is that somebody
who buys from a crowded corner of the catalogue tells less than somebody who buys from an empty one.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import PCA

from vasg.feature_matrix import spread, transformed, unit

_COMPONENTS = 64
_CLUSTERS, _MEMBERS = 512, 8  # of the catalogue, and products of one, at least, on average
_FITTED_USERS = 4096  # that the covariance of tastes is learned from
_ROUNDS = 8  # of EM: what purchases do not speak against stays near its start
_STEPS, _CLOSE = 30, 1e-3  # of Newton's method at most; a step, in standard deviations of tastes, that is its last
_LONGEST = 2.0  # step, in the same unit: far from the mode the quadratic says little
_BLOCK = 1024  # users at a time: 32 MiB of second derivatives

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Catalogue:
    """The products as a mixture of normal distributions, each product weighing what is bought of it."""

    log_share: Doubles  # [C]
    centres: Doubles  # [C, k]
    within: Doubles  # [k, k] covariance around the centres

    def log_sum(self, tastes: Doubles) -> tuple[Doubles, Doubles, Doubles]:
        """log Z [n] of ``tastes`` [n, k], its gradient [n, k] and second derivatives [n, k, k]."""
        scores = self.log_share + tastes @ self.centres.T
        highest = scores.max(1, keepdims=True)
        share = np.exp(scores - highest)
        total = share.sum(1, keepdims=True)
        share /= total
        mean, drift = share @ self.centres, tastes @ self.within
        value = (highest + np.log(total))[:, 0] + np.einsum("nk,nk->n", tastes, drift) / 2
        k = self.centres.shape[1]
        products = (self.centres[:, :, None] * self.centres[:, None, :]).reshape(-1, k * k)
        curvature = (share @ products).reshape(-1, k, k) - mean[:, :, None] * mean[:, None, :] + self.within
        return value, mean + drift, curvature


def mixed_logit(
    features: NDArray[Any], has_feature: NDArray[np.bool_], pairs: NDArray[np.int64], users: int, warm: int, seed: int
) -> Floats:
    """[U + P, k] tastes of users and pictures of products, whose inner product is the logarithm of the odds of buying.

    ``features`` [P, I] by product; ``pairs`` [n, 2] user and product (from 0) of the train split. Zero without a picture,
    and for users who bought none with one. Nothing of a product from ``warm`` on enters the fit.
    """
    fitted = np.flatnonzero(has_feature[:warm])
    size = min(_COMPONENTS, features.shape[1], len(fitted) - 1)
    pairs = pairs[has_feature[pairs[:, 1]]]
    if size < 1 or not len(pairs):
        return np.zeros((users + len(features), 1), np.float32)
    pca = PCA(size, random_state=seed % 2**32).fit(unit(features[spread(fitted)]))
    scale = np.float32(1 / max(float(pca.explained_variance_[0]) ** 0.5, 1e-12))
    looks = transformed(features, has_feature, size, lambda rows: pca.transform(unit(rows)) * scale)
    bought = csr_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (users, len(features)))
    found = catalogue(looks[fitted], 1.0 + bought.sum(0)[fitted], seed)
    count = bought.sum(1)
    return np.concatenate([_tastes(found, count, bought @ looks.astype(np.float64)), looks])


def catalogue(looks: Floats, weight: Doubles, seed: int) -> Catalogue:
    """Products of ``looks`` [n, k] that weigh ``weight`` [n], by clusters of like pictures."""
    count = max(1, min(_CLUSTERS, len(looks) // _MEMBERS))
    clusters = MiniBatchKMeans(count, n_init=1, batch_size=4096, random_state=seed % 2**32)
    clusters.fit(looks[spread(np.arange(len(looks)))])
    member = csr_array((weight, (clusters.predict(looks), np.arange(len(looks)))), (count, len(looks)))
    share = member.sum(1)
    member, share = member[share > 0], share[share > 0]
    centres = (member @ looks) / share[:, None]
    seconds = (looks * weight[:, None]).T @ looks - (centres * share[:, None]).T @ centres
    return Catalogue(np.log(share / share.sum()), centres, seconds / share.sum())


def _tastes(found: Catalogue, count: Doubles, total: Doubles) -> Floats:
    """[U, k] modes; users of ``count`` [U] purchases whose pictures add up to ``total`` [U, k]."""
    buyers = np.flatnonzero(count)
    sample = spread(buyers, _FITTED_USERS)
    variance = np.trace(found.within) + np.exp(found.log_share) @ np.square(found.centres).sum(1)
    covariance = np.eye(total.shape[1]) / max(float(variance), 1e-12)  # tastes change scores by about one, at first
    tastes = np.zeros((len(sample), total.shape[1]))
    for _ in range(_ROUNDS):
        tastes, covariance = _round(found, count[sample], total[sample], covariance, tastes)
    modes = np.zeros(total.shape, np.float32)
    precision = np.linalg.inv(covariance)
    for begin in range(0, len(buyers), _BLOCK):
        part = buyers[begin : begin + _BLOCK]
        modes[part] = newton(found, count[part], total[part], precision, np.zeros((len(part), total.shape[1])))[0]
    return modes


def _round(
    found: Catalogue, count: Doubles, total: Doubles, covariance: Doubles, tastes: Doubles
) -> tuple[Doubles, Doubles]:
    """One round of EM from ``tastes`` [n, k]: the modes, and the covariance [k, k] of tastes that they speak for."""
    precision, modes = np.linalg.inv(covariance), np.empty_like(tastes)
    summed = np.zeros_like(covariance)
    for begin in range(0, len(tastes), _BLOCK):
        part = slice(begin, begin + _BLOCK)
        modes[part], curvature = newton(found, count[part], total[part], precision, tastes[part])
        summed += modes[part].T @ modes[part] + np.linalg.inv(curvature).sum(0)
    return modes, summed / len(tastes)


def newton(
    found: Catalogue, count: Doubles, total: Doubles, precision: Doubles, tastes: Doubles
) -> tuple[Doubles, Doubles]:
    """Modes [n, k] of z . total - count log Z(z) - z' precision z / 2, and the negative second derivatives [n, k, k] there.

    The function is concave; the search starts from ``tastes`` [n, k].
    """
    for _ in range(_STEPS):
        _, mean, curvature = found.log_sum(tastes)
        curvature = curvature * count[:, None, None] + precision
        slope = total - count[:, None] * mean - tastes @ precision
        step = np.linalg.solve(curvature, slope[:, :, None])[:, :, 0]
        length = np.sqrt(np.einsum("ni,ij,nj->n", step, precision, step))
        tastes = tastes + step * np.minimum(1.0, _LONGEST / np.maximum(length, 1e-12))[:, None]
        if length.max(initial=0.0) < _CLOSE:
            break
    return tastes, curvature
