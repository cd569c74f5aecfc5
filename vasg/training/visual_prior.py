"""What pictures alone say about taste, in closed form: where every embedding starts, and what it is pulled towards.

A picture's feature becomes x: its principal components, and how much it belongs to each of several hundred clusters,
which tell small neighbourhoods apart where components only tell directions; together whitened. In each dimension of its
own, x is modelled as the buyer's taste plus what else is in it:
x = t + e with variances rho and 1 - rho (the two-covariance model of probabilistic linear discriminant analysis, Ioffe
2006). The axes are those in which products of one buyer correlate most, rho is how much. A user of n purchases with the
mean picture m then has the posterior mean t = n rho m / (n rho + 1 - rho), and log p(x | t) - log p(x) grows with
t x / (1 - rho): the logarithm of a ratio, as Skip-Gram scores are. It is the inner product of the two rows given here.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import PCA

from vasg import randomness
from vasg.features.components import fitted_products
from vasg.rows import unit

_MEMBERS = 8  # products of a cluster, at least, on average
_SOFTNESS = 0.1  # difference of cosines that makes one cluster e times as likely as another
_CLUSTER_SHARE = 0.5  # length of the memberships where the components have length 1
_DIMENSIONS = 300  # of x
_LARGEST_RHO = 0.95  # so that 1 / (1 - rho) stays bounded
_SMALLEST_RHO = 1e-4

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Detail:
    """How closely a picture is looked at: principal components of the features, and clusters (0: components alone)."""

    components: int
    clusters: int


FINE = Detail(128, 512)  # enough for all that purchases tell, few enough to leave the features' noise out
SMOOTH = Detail(64, 0)  # better where what matters are a few directions, and neighbourhoods tell nothing more


def visual_prior(
    pictures: Floats, has_feature: NDArray[np.bool_], pairs: NDArray[np.int64], users: int, warm: int, dim: int, seed: int,
    detail: Detail,
) -> Floats:  # fmt: skip
    """[U + P, dim] embeddings of users and products by pictures; zero for products without one and their buyers.

    ``pictures`` [P, k] are principal components; ``pairs`` [n, 2] user and product (from 0) of the train split. Nothing of
    a product from ``warm`` on enters the fit.
    """
    prior = np.zeros((users + len(pictures), dim), np.float32)
    pairs = pairs[has_feature[pairs[:, 1]]]
    if not pictures.size or not len(pairs):
        return prior
    looks = _looks(pictures, fitted_products(has_feature, warm), detail, seed)
    looks[~has_feature] = 0
    bought = csr_array((np.ones(len(pairs), np.float32), (pairs[:, 0], pairs[:, 1])), (users, len(pictures)))
    looks[has_feature] -= (bought.sum(0) @ looks) / len(pairs)
    axes, rho = _axes(looks, bought, seed)
    looks, rho = (looks @ axes)[:, :dim], rho[:dim]
    root = np.sqrt(rho)
    count = bought.sum(1)[:, None]
    taste = (bought @ looks) * root / (count * rho + 1 - rho) / (1 - rho)  # n m = the sum; rho / sqrt(rho) = root
    prior[:users, : len(rho)], prior[users:, : len(rho)] = taste, looks * root
    return prior


def _looks(pictures: Floats, fitted: NDArray[np.int64], detail: Detail, seed: int) -> Floats:
    """[P, k] x of all products, of length sqrt(k). ``fitted`` are the products to learn from."""
    state = randomness.seed_of_32_bits(seed)
    components = _whitened(pictures[:, : detail.components], fitted)
    count = min(detail.clusters, len(fitted) // _MEMBERS)
    centers = components[:0]
    if count:
        clusters = MiniBatchKMeans(count, n_init=1, batch_size=2048, random_state=state).fit(components[fitted])
        centers = unit(clusters.cluster_centers_)
    joined = np.hstack([components, _membership(components, centers)])
    pca = PCA(min(_DIMENSIONS, joined.shape[1], len(fitted) - 1), random_state=state).fit(joined[fitted])
    looks = _whitened(pca.transform(joined), fitted)
    return looks * np.float32(looks.shape[1] ** 0.5)


def _whitened(components: Floats, fitted: NDArray[np.int64]) -> Floats:
    """[P, k] principal components of variance 1, then rows of length 1; what varies next to nothing is left out."""
    deviation = components[fitted].std(0)
    kept = max(1, int((deviation > 1e-3 * deviation[0]).sum()))
    return unit(components[:, :kept] / np.maximum(deviation[:kept], np.float32(1e-30)))


def _membership(components: Floats, centers: Floats) -> Floats:
    """[n, clusters] square roots of shares that add up, so that a row has length _CLUSTER_SHARE."""
    nearness = components @ centers.T / _SOFTNESS
    share = np.exp(nearness - nearness.max(1, keepdims=True, initial=-np.inf))
    share /= share.sum(1, keepdims=True)
    membership: Floats = _CLUSTER_SHARE * np.sqrt(share)
    return membership


def _axes(looks: Floats, bought: Any, seed: int) -> tuple[Floats, Floats]:
    """Axes [k, k] that give purchases variance 1, those of most correlation within a buyer first, and their rho [k].

    The correlations are those that the axes of one half of the buyers have among the other half: for features that tell
    nothing they are zero, where the largest of all found on the same purchases would never be.
    """
    total = (looks * bought.sum(0)[:, None]).T @ looks / bought.sum()
    variance, vectors = np.linalg.eigh(total.astype(np.float64))
    whitening = vectors / np.sqrt(np.maximum(variance, 1e-6 * max(variance[-1], 1.0)))  # x varies by 1
    half = randomness.hash64(seed, "sample", 5, np.arange(bought.shape[0])) % np.uint64(2) == 0
    within = [whitening.T @ _covariance(looks, bought, chosen) @ whitening for chosen in (half, ~half, half | ~half)]
    crossed = [_correlations(within[0], within[1]), _correlations(within[1], within[0])]
    rho = np.clip(np.minimum.accumulate(np.mean(crossed, axis=0)), 0.0, _LARGEST_RHO)
    rho[rho < _SMALLEST_RHO] = 0
    axes = whitening @ np.linalg.eigh(within[2])[1][:, ::-1]
    return axes.astype(np.float32), rho.astype(np.float32)


def _correlations(fitted: NDArray[np.float64], held_out: NDArray[np.float64]) -> NDArray[np.float64]:
    axes = np.linalg.eigh(fitted)[1][:, ::-1]
    correlations: NDArray[np.float64] = np.einsum("ik,ij,jk->k", axes, held_out, axes)
    return correlations


def _covariance(looks: Floats, bought: Any, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[k, k] mean of x y^T over pairs of different purchases of one of the chosen users, who weigh by their purchases."""
    bought = bought * chosen[:, None].astype(np.float32)
    count = bought.sum(1)
    weight = np.where(count > 1, 1 / np.maximum(count - 1, 1), 0).astype(np.float32)
    sums = bought @ looks
    same = looks * (weight @ bought)[:, None]
    pairs = max(float((weight * count * (count - 1)).sum()), 1.0)
    covariance: NDArray[np.float64] = ((sums * weight[:, None]).T @ sums - same.T @ looks).astype(np.float64) / pairs
    return covariance
