"""The baselines that look at pictures, without learning: wboi, visual_popular and image_knn.

The first two have the same products: the image feature, normalised to length 1, and log(1 + train purchases) as one more
dimension.
They differ in the users: wboi gives that dimension no weight, visual_popular the weight that does best on validation pairs.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from vasg.features.components import principal_components
from vasg.randomness import hash64
from vasg.rows import unit
from vasg.sampled_auc import share_sums
from vasg.scoring.inputs import Purchases
from vasg.scoring.models import Catalogue, Model, catalogue
from vasg.scoring.product import singles

POPULARITY_WEIGHTS = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
DEFAULT_POPULARITY_WEIGHT = 0.03  # where there are no validation pairs to choose by
_SAMPLE = 4096  # validation pairs, and candidate products, that the choice looks at
_CHUNK_BYTES = 64 << 20
_COMPONENTS = 128  # of the features, for image_knn


@dataclass(frozen=True)
class Pictures:
    """Image features of products; ``norm`` is their length (1 for a feature of zeros)."""

    features: NDArray[Any]  # [P, I], zero without a picture
    norm: NDArray[np.float32]  # [P]
    has_feature: NDArray[np.bool_]  # [P]
    popularity: NDArray[np.float32]  # [P] log(1 + train purchases)

    def rows(self, products: NDArray[np.int64]) -> NDArray[Any]:
        """[n, I + 1] in the precision of the features."""
        unit = singles(self.features[products]) / self.norm[products, None]
        return np.hstack((unit, self.popularity[products, None])).astype(self.features.dtype)

    def units(self, products: NDArray[np.int64]) -> NDArray[np.float32]:
        """[n, I] features of length 1, as ``rows`` has them."""
        return np.ascontiguousarray(singles(self.rows(products)[:, :-1]))


def pictures(purchases: Purchases, features: NDArray[Any], has_feature: NDArray[np.bool_]) -> Pictures:
    """Lengths of the features and log popularity, once for both models."""
    norm = np.empty(len(features), np.float32)
    step = max(1, _CHUNK_BYTES // (4 * max(1, features.shape[1])))
    for begin in range(0, len(features), step):
        norm[begin : begin + step] = np.linalg.norm(singles(features[begin : begin + step]), axis=1)
    norm[norm == 0] = 1.0
    return Pictures(features, norm, has_feature, np.log1p(purchases.per_product("train")).astype(np.float32))


def picture_catalogue(pictures: Pictures, purchases: Purchases, seed: int) -> Catalogue:
    """The products of both models."""
    return catalogue(pictures.rows, pictures.has_feature, purchases.warm, seed)


def wboi(pictures: Pictures, purchases: Purchases, users: NDArray[np.int64], columns: Catalogue) -> Model:
    """Cosine between a product's feature and the rating-weighted mean feature of the user's train products."""
    vectors = _weighted_sums(pictures, purchases, users, purchases.rating)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.where(length == 0, 1.0, length)  # no train product with a picture: all products tie
    return Model("wboi", users, np.pad(vectors, ((0, 0), (0, 1))), columns)


def visual_popular(
    pictures: Pictures, purchases: Purchases, users: NDArray[np.int64], columns: Catalogue, popularity_weight: float
) -> Model:
    """Mean normalised feature of the user's train products, plus weighted log popularity of the product."""
    vectors = np.pad(_profiles(pictures, purchases, users), ((0, 0), (0, 1)), constant_values=popularity_weight)
    return Model("visual_popular", users, vectors, columns)


def image_knn(pictures: Pictures, purchases: Purchases, users: NDArray[np.int64], seed: int) -> Model:
    """Cosine between a product's picture and the nearest of the user's train products, by their principal components.

    Centred on the mean picture of warm products: without that, all pictures look alike.
    """
    looks = unit(principal_components(pictures.features, pictures.has_feature, purchases.warm, _COMPONENTS, seed))
    if not looks.shape[1]:  # no two pictures of warm products differ: all products tie
        looks = np.zeros((purchases.products, 1), np.float32)
    columns = catalogue(lambda chosen: looks[chosen], pictures.has_feature, purchases.warm, seed)
    seen = purchases.of("train") & pictures.has_feature[purchases.product] & np.isin(purchases.user, users)
    starts = np.concatenate(([0], np.cumsum(np.bincount(purchases.user[seen], minlength=purchases.users)[users])))
    mine = columns.vectors[columns.column[purchases.product[seen]]]
    return Model("image_knn", users, mine, columns, starts.astype(np.int64))


def choose_popularity_weight(pictures: Pictures, purchases: Purchases, seed: int) -> float:
    """The weight of POPULARITY_WEIGHTS with the best AUC on validation pairs, the smallest of equally good ones."""
    auc = validation_auc(pictures, purchases, seed)
    return POPULARITY_WEIGHTS[int(auc.argmax())] if len(auc) else DEFAULT_POPULARITY_WEIGHT


def validation_auc(pictures: Pictures, purchases: Purchases, seed: int) -> NDArray[np.float64]:
    """AUC of visual_popular with each of POPULARITY_WEIGHTS on validation_warm pairs; empty where there are none.

    At most 4,096 of the pairs are ranked among at most 4,096 warm products, both drawn by hash, without the user's other
    train and validation products; no test pair has any part in it.
    """
    pairs = np.flatnonzero(purchases.of("validation_warm") & pictures.has_feature[purchases.product])
    pairs = _sample(seed, 0, pairs, hash_of=purchases.user[pairs] * purchases.products + purchases.product[pairs])
    if not len(pairs):
        return np.zeros(0)
    warm = np.flatnonzero(pictures.has_feature[: purchases.warm])
    candidates = _sample(seed, 1, warm, hash_of=warm)
    column = np.full(purchases.products, -1)
    column[candidates] = np.arange(len(candidates))
    known = purchases.of("train", "validation_warm", "validation_cold")
    known_starts, known_products = purchases.row_starts(known), purchases.product[known]
    units, popularity = pictures.units(candidates), pictures.popularity[candidates]
    weights = np.array(POPULARITY_WEIGHTS, np.float32)
    total, asked = np.zeros(len(weights)), 0
    for begin in range(0, len(pairs), 256):
        part = pairs[begin : begin + 256]
        user, product = purchases.user[part], purchases.product[part]
        distinct, row = np.unique(user, return_inverse=True)
        profiles = _profiles(pictures, purchases, distinct)[row]
        scores = profiles @ units.T  # [256, candidates]
        own = np.einsum("pi,pi->p", profiles, pictures.units(product))
        left_out = np.zeros(scores.shape, np.bool_)
        for i, u in enumerate(user):
            columns = column[known_products[known_starts[u] : known_starts[u + 1]]]
            left_out[i, columns[columns >= 0]] = True
        sums, told = share_sums(own, scores, pictures.popularity[product], popularity[None], left_out, weights)
        total, asked = total + sums, asked + told
    return total / max(asked, 1)


def _profiles(pictures: Pictures, purchases: Purchases, users: NDArray[np.int64]) -> NDArray[np.float32]:
    """Mean normalised feature of each user's train products with a picture, [n, I]; zero where there are none."""
    seen = purchases.of("train") & pictures.has_feature[purchases.product]
    number = np.bincount(purchases.user[seen], minlength=purchases.users)[users]
    sums = _weighted_sums(pictures, purchases, users, 1.0 / pictures.norm[purchases.product])
    return sums / np.maximum(number, 1)[:, None].astype(np.float32)


def _weighted_sums(
    pictures: Pictures, purchases: Purchases, users: NDArray[np.int64], weight: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Sum of weight x feature over each user's train products, [n, I]; ``users`` distinct, ascending.

    Products without a picture have features of zero. Works through the pairs in chunks of bounded size, however many
    products a user has.
    """
    row = np.full(purchases.users, -1)
    row[users] = np.arange(len(users))
    pairs = np.flatnonzero(purchases.of("train") & (row[purchases.user] >= 0))
    sums = np.zeros((len(users), pictures.features.shape[1]), np.float32)
    step = max(1, _CHUNK_BYTES // (4 * max(1, pictures.features.shape[1])))
    for begin in range(0, len(pairs), step):
        part = pairs[begin : begin + step]
        distinct, place = np.unique(row[purchases.user[part]], return_inverse=True)
        weights = csr_array((weight[part], (place, np.arange(len(part)))), (len(distinct), len(part)))
        sums[distinct] += weights @ singles(pictures.features[purchases.product[part]])
    return sums


def _sample(seed: int, purpose: int, values: NDArray[np.int64], hash_of: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most _SAMPLE of the values, those with the lowest hashes, in their old order."""
    lowest = np.argsort(hash64(seed, "picture_sample", purpose, hash_of), kind="stable")[:_SAMPLE]
    return values[np.sort(lowest)]
