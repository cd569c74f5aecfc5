"""Pictures to features, from spark-submit to exit, beside a bare loop that only decodes the JPEG files."""

import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks import measure
from benchmarks.data import Shop


def run(shop: Shop, rounds: int) -> list[measure.Result]:
    """Pictures a second, of the default encoder."""
    folder = shop.pictures
    count = len(list(folder.iterdir()))
    decode = [sys.executable, measure.HERE / "peers" / "pictures_decode.py", folder]
    seconds = measure.alternate(partial(_job, folder), lambda: measure.report(decode)["seconds"], rounds)
    floor = "floor: the decoding, which is what the peer does and all it does"
    peer = "Pillow decoding to full size, two processes"
    return [measure.compare("features", shop.name, peer, "pictures/s", count, *seconds, floor)]


def _job(folder: Path) -> float:
    root = Path(tempfile.mkdtemp(prefix="vasg-bench-"))
    try:
        text = f'[features]\nsource = "pictures"\npath = "{folder}/{{product_id}}.jpg"\n'
        (root / "c.toml").write_text(text, encoding="utf-8")
        return measure.job("extract_features", root / "c.toml", root / "w")
    finally:
        shutil.rmtree(root)
