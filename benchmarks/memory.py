"""``python -m benchmarks.memory``: what a worker holds while it trains Skip-Gram, over the size of the model and the workers.

Peak of a worker's memory above what it had before the model was made, mean over the workers, beside its share of the
vectors and of the optimizer's state. Written to memory.json.
"""

import json
import tempfile
from pathlib import Path

from benchmarks import growth, measure, skipgram

_NODES, _WORKERS = (100_000, 1_000_000, 4_000_000), (1, 2, 4)
_TRAINED = 20_000  # walks


def main() -> None:
    """Every number of workers at every size."""
    rows = []
    print("| nodes | workers | model, MiB a worker | peak, MiB a worker |\n|---|---|---|---|", flush=True)
    for nodes in _NODES:
        with tempfile.TemporaryDirectory(prefix="vasg-bench-") as folder:
            shop = growth.grown(nodes, Path(folder))
            walks = skipgram.sample(shop, _TRAINED)
            for size in _WORKERS:
                directory = Path(tempfile.mkdtemp(dir=folder))
                plan = skipgram.plan(shop, walks, directory)
                share, peak = skipgram.launched(skipgram.held, plan, size, directory)
                rows.append({"nodes": nodes, "workers": size, "model_mib": share, "peak_mib": peak})
                print(f"| {nodes:,} | {size} | {share:.0f} | {peak:.0f} |", flush=True)
    text = json.dumps({"machine": measure.machine(), "rows": rows}, indent=1)
    (measure.HERE / "memory.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
