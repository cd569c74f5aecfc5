"""What purchases alone say in closed form: the leading directions of who bought what.

Where products belong together in many small groups, as sequels do or what one game needs, two products that the same people
buy say more than any taste of few dimensions learned by steps. With a purchase divided by the roots of its user's and its
product's number of purchases, the purchases are a matrix whose truncated singular value decomposition U S V^T scores products
by them (PureSVD, Cremonesi, Koren and Turrin 2010). S^2 is what is left of a direction after a walk from a user to a product
and back: each counts by it, so that accidents of few purchases count less.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.utils.extmath import randomized_svd

from vasg.randomness import seed_of_32_bits

_ITERATIONS = 8  # of the block of directions: singular values are close to each other where groups are many
_SPARE = 0.5  # directions that are carried along beside those wanted, as a share of them

Floats = NDArray[np.float32]


def co_purchases(pairs: NDArray[np.int64], users: int, warm: int, products: int, dim: int, seed: int) -> Floats:
    """[U + P, d] U S^2 of users and V of warm products, their mean for cold ones; d is at most ``dim`` and at least 1.

    ``pairs`` [n, 2] user and product (from 0) of the train split.
    """
    size = min(dim, users, warm)
    found = np.zeros((users + products, max(1, size)), np.float32)
    if not size or not len(pairs):
        return found
    user, product = pairs.T
    share = (np.bincount(user)[user] * np.bincount(product)[product]) ** -0.5
    matrix = csr_matrix((share.astype(np.float32), (user, product)), (users, warm))
    spare = 1 + int(_SPARE * size)
    left, singular, right = randomized_svd(
        matrix, size, n_oversamples=spare, n_iter=_ITERATIONS, random_state=seed_of_32_bits(seed)
    )
    found[:users], found[users : users + warm] = left * np.square(singular), right.T
    found[users + warm :] = right.mean(1)
    return found
