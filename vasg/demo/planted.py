"""A shop whose users buy by planted tastes, so that the best reachable AUC is known.

Product p has a style ``s_p`` in R^T (a cluster's centre and a spread of its own) and a popularity ``w_p`` (a power law);
user u has a taste ``z_u`` in R^T. A user's products are drawn one after another without replacement, each in proportion
to ``exp(taste z_u . s_p / sqrt(T)) w_p``. The log of that, an inner product, is the oracle: no score ranks better.
A product's picture shows a blurred style, and the image feature is a noisy rectified projection of it, so pictures
tell most of the style, but not all.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vasg.randomness import hash64, normal, permutation, uniform

Floats = NDArray[np.float32]
Longs = NDArray[np.int64]

T = 8  # dimensions of style and taste
CLUSTERS = 32  # of styles
SPREAD = 0.6  # standard deviation of a style around its cluster; styles have variance 1 in each dimension
FEATURE_NOISE = 0.5  # standard deviation of the noise on each dimension before rectification
FEATURE_BIAS = -0.7  # makes about three in four dimensions zero, as in the features of a rectified network layer
MIN_PRODUCTS = 5  # of a user
ACTIVITY = 2.5  # tail exponent of products per user
MAX_ACTIVITY = 30.0  # largest weight of a user when purchases beyond MIN_PRODUCTS are shared out; the median is 0.3
_BLOCK = 2**20  # numbers at a time: the working set stays in cache

# First counter of every draw: the high half says what is drawn, the low half for whom.
_CLUSTER, _CENTRE, _SPREAD, _RANK, _TASTE, _ACTIVITY, _CHOICE, _RATING, _BLUR, _PROJECTION, _NOISE = range(11)


def counter(purpose: int, index: Any = 0) -> Any:
    """The first random counter of draw ``purpose`` for row ``index`` (int or array, below 2**32)."""
    return (purpose << 32) + np.asarray(index, np.int64)


@dataclass(frozen=True)
class Nature:
    """What purchases depend on, and how much the pictures tell."""

    taste: float = 1.9  # standard deviation of log-propensity that comes from taste
    popularity: float = 0.4  # exponent of the power law of popularity over popularity ranks
    blur: float = 0.2  # standard deviation of the picture's style around the product's, whose own is 1


DEFAULT = Nature()


@dataclass(frozen=True)
class Planted:
    """A generated shop; U users, P products, R purchases, T style dimensions."""

    styles: Floats  # [P, T]
    log_popularity: Floats  # [P]
    tastes: Floats  # [U, T], scaled so that taste . style is the taste's part of the log-propensity
    users: Longs  # [R] ascending
    products: Longs  # [R] distinct for one user
    ratings: Longs  # [R] 1 to 5

    def oracle(self) -> tuple[Floats, Floats]:
        """Vectors of users [U, T+1] and products [P, T+1] whose inner product is the true log-propensity."""
        ones = np.ones((len(self.tastes), 1), np.float32)
        return np.hstack([self.tastes, ones]), np.hstack([self.styles, self.log_popularity[:, None]])


def plant(seed: int, users: int, products: int, ratings: int, nature: Nature = DEFAULT) -> Planted:
    """Draw styles, tastes and about ``ratings`` distinct purchases (exactly as many unless a user would own half the shop)."""
    cluster = hash64(seed, "demo", counter(_CLUSTER), np.arange(products)) % np.uint64(CLUSTERS)
    centres = _normals(seed, _CENTRE, CLUSTERS, T)
    styles = np.sqrt(1 - SPREAD**2) * centres[cluster] + SPREAD * _normals(seed, _SPREAD, products, T)
    rank = permutation(seed, "demo", int(counter(_RANK)), products)
    log_popularity = -nature.popularity * np.log1p(rank)
    tastes = nature.taste / np.sqrt(T) * _normals(seed, _TASTE, users, T)
    counts = _activity(seed, users, products, ratings)
    styles, log_popularity, tastes = (x.astype(np.float32) for x in (styles, log_popularity, tastes))
    buyer, bought, liking = _purchases(seed, tastes, styles, log_popularity, counts)
    return Planted(styles, log_popularity, tastes, buyer, bought, _stars(seed, buyer, bought, liking))


def features(seed: int, styles: Floats, dim: int, blur: float = Nature.blur) -> Iterator[Floats]:
    """Image features of all products in blocks [*, dim], non-negative: ReLU(projection (style + blur) + bias + noise)."""
    projection = _normals(seed, _PROJECTION, dim, T).astype(np.float32) / np.float32(np.sqrt(T))
    shown = styles + blur * _normals(seed, _BLUR, *styles.shape).astype(np.float32)
    rows = max(1, _BLOCK // dim)
    for begin in range(0, len(styles), rows):
        index = np.arange(begin, min(begin + rows, len(styles)))
        noise = normal(seed, "demo", counter(_NOISE, index)[:, None], np.arange(dim)).astype(np.float32)
        yield np.maximum(shown[index] @ projection.T + np.float32(FEATURE_BIAS) + FEATURE_NOISE * noise, 0)


def _normals(seed: int, purpose: int, rows: int, columns: int) -> NDArray[np.float64]:
    return np.asarray(normal(seed, "demo", counter(purpose, np.arange(rows))[:, None], np.arange(columns)))


def _activity(seed: int, users: int, products: int, ratings: int) -> Longs:
    """Distinct products of each user [U]: MIN_PRODUCTS and a share, with a power-law tail, of what is left of ``ratings``."""
    draw = uniform(seed, "demo", counter(_ACTIVITY), np.arange(users))
    weight = np.minimum((1 - draw) ** (-1 / ACTIVITY) - 1, MAX_ACTIVITY)
    shares = np.cumsum(weight) / weight.sum() * (ratings - MIN_PRODUCTS * users)
    extra = np.diff(np.round(shares).astype(np.int64), prepend=0)
    return np.minimum(MIN_PRODUCTS + extra, max(MIN_PRODUCTS, products // 2))


def _purchases(
    seed: int, tastes: Floats, styles: Floats, log_popularity: Floats, counts: Longs
) -> tuple[Longs, Longs, Floats]:
    """Sequential draws without replacement, all at once: the products of the first arrivals of a race.

    A race of exponential waiting times with rates ``propensity`` finishes in the order of such draws (the same as the
    top k of log-propensity plus Gumbel noise). Returns user, product and taste's part of the log-propensity, each [R].
    """
    rows, every = max(1, _BLOCK // len(styles)), np.arange(len(styles))
    bought, liking = [], []
    for begin in range(0, len(tastes), rows):
        index = np.arange(begin, min(begin + rows, len(tastes)))
        match = tastes[index] @ styles.T  # [B, P]
        waiting = -np.log1p(-uniform(seed, "demo", counter(_CHOICE, index)[:, None], every))  # [B, P]
        waiting *= np.exp(-match - log_popularity)
        for row, user in enumerate(index):
            first = np.argpartition(waiting[row], counts[user])[: counts[user]]
            first = first[np.argsort(waiting[row, first])]
            bought.append(first)
            liking.append(match[row, first])
    return np.repeat(np.arange(len(tastes)), counts), np.concatenate(bought), np.concatenate(liking)


def _stars(seed: int, users: Longs, products: Longs, liking: Floats) -> Longs:
    """Ratings 1 to 5 that rise with how well the product meets the taste, with noise."""
    noise = normal(seed, "demo", counter(_RATING, users), products)
    stars: Longs = np.clip(np.round(3.4 + 0.6 * liking + 0.8 * noise), 1, 5).astype(np.int64)
    return stars
