"""gensim's Skip-Gram with 5 negatives, window radius 3, D = 100, on two workers: WALKS.npy [EPOCHS VECTORS.npz].

The vectors are written node by node: as a center, and as a context.
"""

import json
import sys
import time

import numpy as np
from gensim.models import Word2Vec

epochs = int(sys.argv[2]) if len(sys.argv) > 2 else 1
sentences = [[str(node) for node in walk] for walk in np.load(sys.argv[1]).tolist()]
model = Word2Vec(
    sg=1, hs=0, negative=5, vector_size=100, window=3, shrink_windows=False, workers=2, min_count=1, sample=0, epochs=epochs,
    seed=1,
)  # fmt: skip
model.build_vocab(sentences)
started = time.perf_counter()
model.train(sentences, total_examples=len(sentences), epochs=epochs)
seconds = time.perf_counter() - started
if len(sys.argv) > 3:
    nodes = np.array(model.wv.index_to_key, np.int64)
    np.savez(sys.argv[3], node=nodes, center=model.wv.vectors, context=model.syn1neg)
print(json.dumps({"seconds": seconds}))
