"""implicit's recommendation of 100 products to every user, bought ones filtered: VECTORS.npz."""

import json
import sys
import time

import numpy as np
from implicit.cpu.matrix_factorization_base import MatrixFactorizationBase
from scipy.sparse import csr_matrix

data = np.load(sys.argv[1])


class Given(MatrixFactorizationBase):
    """Factors from outside."""

    def fit(self) -> None:
        """Nothing to learn."""

    def save(self, file: str) -> None:
        """Nothing to save."""


model = Given(num_threads=2)
model.user_factors, model.item_factors = data["users"], data["products"]
shape = (len(data["users"]), len(data["products"]))
bought = csr_matrix((np.ones(len(data["user"]), np.float32), (data["user"], data["product"])), shape)
model.recommend(np.arange(16), bought[:16], N=100)
started = time.perf_counter()
model.recommend(np.arange(shape[0]), bought, N=100)
print(json.dumps({"seconds": time.perf_counter() - started}))
