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

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits

from vasg.features.components import fitted_products, spread
from vasg.randomness import seed_of_32_bits

_COMPONENTS = 64
_CLUSTERS, _MEMBERS = 512, 8  # of the catalogue, and products of one, at least, on average
_FITTED_USERS = 4096  # that the covariance of tastes is learned from
_ROUNDS = 8  # of EM: what purchases do not speak against stays near its start
_STEPS, _CLOSE = 30, 1e-2  # of Newton's method at most; a step, in standard deviations of tastes, that is its last ...
_NEAR = 0.1  # ... and in a round of EM
_LONGEST = 2.0  # step, in the same unit: far from the mode the quadratic says little
_BLOCK = 128  # users at a time, on each core: 2 MiB of second derivatives

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Mixture:
    """The products as a mixture of normal distributions, each product weighing what is bought of it."""

    log_share: Doubles  # [C]
    centres: Doubles  # [C, k]
    within: Doubles  # [k, k] covariance around the centres

    def along(self, axes: Doubles) -> "Mixture":
        """The same where a taste z [k] is ``axes`` u: all that counts are inner products."""
        return Mixture(self.log_share, self.centres @ axes, axes.T @ self.within @ axes)

    @cached_property
    def _products(self) -> Floats:
        """[C, k k] of the centres, element by element; single precision is enough for a direction."""
        centres = self.centres.astype(np.float32)
        return (centres[:, :, None] * centres[:, None, :]).reshape(len(centres), -1)

    def log_sum(self, tastes: Doubles) -> tuple[Doubles, Doubles, Floats]:
        """log Z [n] of ``tastes`` [n, k], its gradient [n, k] and second derivatives [n, k, k]."""
        scores = self.log_share + tastes @ self.centres.T
        highest = scores.max(1, keepdims=True)
        share = np.exp(scores - highest)
        total = share.sum(1, keepdims=True)
        share /= total
        mean, drift = share @ self.centres, tastes @ self.within
        value = (highest + np.log(total))[:, 0] + np.einsum("nk,nk->n", tastes, drift) / 2
        curvature = (share.astype(np.float32) @ self._products).reshape(len(share), *self.within.shape)
        curvature += (self.within - mean[:, :, None] * mean[:, None, :]).astype(np.float32)
        return value, mean + drift, curvature


def mixed_logit(
    pictures: Floats, has_feature: NDArray[np.bool_], pairs: NDArray[np.int64], users: int, warm: int, seed: int,
    threads: int = 1,
) -> Floats:  # fmt: skip
    """[U + P, k] tastes of users and pictures of products, whose inner product is the logarithm of the odds of buying.

    ``pictures`` [P, any] are principal components; ``pairs`` [n, 2] user and product (from 0) of the train split. Zero
    without a picture, and for users who bought none with one. Nothing of a product from ``warm`` on enters the fit.
    """
    pairs, looks = pairs[has_feature[pairs[:, 1]]], pictures[:, :_COMPONENTS]
    if not looks.size or not len(pairs):
        return np.zeros((users + len(pictures), 1), np.float32)
    looks = looks / np.float32(max(float(looks[fitted_products(has_feature, warm), 0].std()), 1e-12))
    bought = csr_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (users, len(looks)))
    sold = np.flatnonzero(has_feature[:warm])
    found = mixture(looks[sold], 1.0 + bought.sum(0)[sold], seed)
    return np.concatenate([_tastes(found, bought.sum(1), bought @ looks.astype(np.float64), threads), looks])


def mixture(looks: Floats, weight: Doubles, seed: int) -> Mixture:
    """Products of ``looks`` [n, k] that weigh ``weight`` [n], by clusters of like pictures."""
    count = max(1, min(_CLUSTERS, len(looks) // _MEMBERS))
    clusters = MiniBatchKMeans(count, n_init=1, batch_size=4096, random_state=seed_of_32_bits(seed))
    clusters.fit(looks[spread(np.arange(len(looks)))])
    member = csr_array((weight, (clusters.predict(looks), np.arange(len(looks)))), (count, len(looks)))
    share = member.sum(1)
    member, share = member[share > 0], share[share > 0]
    centres = (member @ looks) / share[:, None]
    seconds = (looks * weight[:, None]).T @ looks - (centres * share[:, None]).T @ centres
    return Mixture(np.log(share / share.sum()), centres, seconds / share.sum())


def _tastes(found: Mixture, count: Doubles, total: Doubles, threads: int) -> Floats:
    """[U, k] modes; users of ``count`` [U] purchases whose pictures add up to ``total`` [U, k]."""
    buyers = np.flatnonzero(count)
    sample = spread(buyers, _FITTED_USERS)
    variance = np.trace(found.within) + np.exp(found.log_share) @ np.square(found.centres).sum(1)
    root = np.eye(total.shape[1]) / max(float(variance), 1e-12) ** 0.5  # tastes change scores by about one, at first
    tastes = np.zeros((len(sample), total.shape[1]))
    for _ in range(_ROUNDS):
        tastes, covariance = _modes(found, count[sample], total[sample], root, tastes, _NEAR, threads)
        root = np.linalg.cholesky(covariance)
    modes = np.zeros(total.shape, np.float32)
    start = np.zeros((len(buyers), total.shape[1]))
    modes[buyers] = _modes(found, count[buyers], total[buyers], root, start, _CLOSE, threads)[0]
    return modes


def _modes(
    found: Mixture, count: Doubles, total: Doubles, root: Doubles, tastes: Doubles, close: float, threads: int
) -> tuple[Doubles, Doubles]:
    """The modes [n, k] for covariance ``root root'`` of tastes, and the covariance [k, k] that they speak for (EM).

    The search starts from ``tastes`` [n, k]; it goes on in units in which tastes are standard normal, users in blocks.
    """
    seen, total, tastes = found.along(root), total @ root, np.linalg.solve(root, tastes.T).T

    def block(begin: int) -> tuple[Doubles, Doubles]:
        part = slice(begin, begin + _BLOCK)
        modes, curvature = newton(seen, count[part], total[part], tastes[part], close)
        return modes, modes.T @ modes + np.linalg.inv(curvature).sum(0, dtype=np.float64)

    # a solver of many small systems has one thread
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        blocks = list(pool.map(block, range(0, len(tastes), _BLOCK)))
    modes = np.concatenate([modes for modes, _ in blocks])
    covariance = sum((second for _, second in blocks), np.zeros_like(root)) / len(modes)
    return modes @ root.T, root @ covariance @ root.T


def newton(
    found: Mixture, count: Doubles, total: Doubles, tastes: Doubles, close: float = _CLOSE
) -> tuple[Doubles, Floats]:
    """Modes [n, k] of z . total - count log Z(z) - z . z / 2, and the negative second derivatives [n, k, k]
    from where the last step led there.

    The function is concave; the search starts from ``tastes`` [n, k] and ends after a step no longer than ``close``. A step
    that makes it worse is halved.
    """
    diagonal = np.arange(tastes.shape[1])
    origin, highest = tastes, np.full(len(tastes), -np.inf)
    for _ in range(_STEPS):
        log_sum, mean, curvature = found.log_sum(tastes)
        value = np.einsum("nk,nk->n", tastes, total - tastes / 2) - count * log_sum
        worse = value < highest - 1e-9 * np.abs(value)
        origin, highest = np.where(worse[:, None], origin, tastes), np.where(worse, highest, value)
        curvature *= count[:, None, None].astype(np.float32)
        curvature[:, diagonal, diagonal] += 1
        slope = total - count[:, None] * mean - tastes
        step = np.linalg.solve(curvature, slope[:, :, None].astype(np.float32))[:, :, 0]
        length = np.linalg.norm(step, axis=1)
        step *= np.minimum(1.0, _LONGEST / np.maximum(length, 1e-12))[:, None]
        length[worse] = np.inf
        tastes = tastes + np.where(worse[:, None], (origin - tastes) / 2, step)
        if length.max(initial=0.0) <= close:
            break
    return tastes, curvature
