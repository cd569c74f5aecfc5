"""faiss's exact inner-product search for the best 100 of every user: VECTORS.npz."""

import json
import sys
import time

import faiss
import numpy as np

data = np.load(sys.argv[1])
faiss.omp_set_num_threads(2)
index = faiss.IndexFlatIP(data["products"].shape[1])
index.add(data["products"])
users = data["users"]
index.search(users[:16], 100)
started = time.perf_counter()
index.search(users, 100)
print(json.dumps({"seconds": time.perf_counter() - started}))
