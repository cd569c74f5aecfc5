"""What all analyses look at, read once: purchases, vectors and image features, as arrays."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vasg.features.matrix import feature_matrix
from vasg.scoring.inputs import Purchases, read_embeddings, read_purchases
from vasg.warehouse.tables import Warehouse


@dataclass(frozen=True)
class Inputs:
    """Vectors and features aligned with the users and products of ``purchases``; rows are zero where there is none."""

    purchases: Purchases
    users: NDArray[np.float32]  # [U, d]
    products: NDArray[np.float32]  # [P, d]
    has_user: NDArray[np.bool_]  # [U] that have a vector
    has_product: NDArray[np.bool_]  # [P]
    features: NDArray[Any]  # [P, I]
    has_feature: NDArray[np.bool_]  # [P]

    @property
    def comparable(self) -> NDArray[np.bool_]:
        """[P] products with a vector and a feature: what vectors and pictures can both be asked about."""
        return self.has_product & self.has_feature


def read_inputs(warehouse: Warehouse) -> Inputs:
    """The tables nodes, interactions, embeddings and image_features. Raises as their readers do."""
    purchases = read_purchases(warehouse)
    embeddings = read_embeddings(warehouse, purchases.users + purchases.products)
    features, has_feature = feature_matrix(warehouse, purchases.product_ids)
    has_user, has_product = np.split(embeddings.origin >= 0, [purchases.users])
    users, products = np.split(embeddings.vectors, [purchases.users])
    taste = taste_dimensions(users[has_user])
    return Inputs(purchases, users[:, taste], products[:, taste], has_user, has_product, features, has_feature)


def taste_dimensions(users: NDArray[np.float32]) -> NDArray[np.bool_]:
    """[d] the dimensions in which users [n, d] differ.

    Where they all have one number stands a product's bias (see ``vasg.training.publish``): it ranks products for
    everybody alike and would drown what makes two of them alike. All dimensions where no two users differ in any.
    """
    differ: NDArray[np.bool_] = (users != users[:1]).any(axis=0)
    return differ if differ.any() else np.ones_like(differ)
