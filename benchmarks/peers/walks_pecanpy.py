"""PecanPy's unweighted first-order walks: EDGES PER_NODE LENGTH core|job; prints the seconds as JSON."""

import json
import sys
import tempfile
import time

import numpy as np
from numba_progress import ProgressBar
from pecanpy import pecanpy

edges, per_node, length, what = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
graph = pecanpy.FirstOrderUnweighted(p=1, q=1, workers=2, random_state=1)
started = time.perf_counter()
graph.read_edg(edges, weighted=False, directed=False)
if what == "job":
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        for walk in graph.simulate_walks(per_node, length - 1):  # its walk_length counts edges
            file.write(" ".join(walk) + "\n")
        file.flush()
        seconds = time.perf_counter() - started
else:
    move, known = graph.get_move_forward(), graph.get_has_nbrs()
    starts = np.tile(np.arange(graph.num_nodes, dtype=np.uint32), per_node)
    with ProgressBar(total=starts.size, disable=True) as bar:
        graph._random_walks(64, 3, 1, starts[:64], known, move, bar)
    with ProgressBar(total=starts.size, disable=True) as bar:
        started = time.perf_counter()
        graph._random_walks(starts.size, length - 1, 1, starts, known, move, bar)
        seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds}))
