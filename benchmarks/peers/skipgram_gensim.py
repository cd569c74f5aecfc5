"""gensim's Skip-Gram with 5 negatives, window radius 3, D = 100, one epoch on two workers: WALKS.npy."""

import json
import sys
import time

import numpy as np
from gensim.models import Word2Vec

sentences = [[str(node) for node in walk] for walk in np.load(sys.argv[1]).tolist()]
model = Word2Vec(
    sg=1, hs=0, negative=5, vector_size=100, window=3, shrink_windows=False, workers=2, min_count=1, sample=0, epochs=1,
    seed=1,
)  # fmt: skip
model.build_vocab(sentences)
started = time.perf_counter()
model.train(sentences, total_examples=len(sentences), epochs=1)
print(json.dumps({"seconds": time.perf_counter() - started}))
