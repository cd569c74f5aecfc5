"""Raw files into tables, from spark-submit to exit, beside the loops one writes without Spark."""

import gzip
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks import measure
from benchmarks.data import DIM, Shop
from vasg.demo import amazon_files

_BLOCK = 1 << 24


def run(shop: Shop, rounds: int) -> list[measure.Result]:
    """Lines of reviews, and megabytes of features."""
    reviews, features = shop.raw / amazon_files.REVIEWS, shop.raw / amazon_files.FEATURES
    lines, text, unpacking = _unpacked(reviews)
    floor = f"floor: {unpacking:.2f} s of gunzip for {text / 1e6:.0f} MB of text"
    found = []
    for name, how in (("plain Python, json", "python"), ("pandas.read_json", "pandas")):
        seconds = measure.alternate(
            partial(_job, shop, reviews, features=False), partial(_peer, "reviews_ingest.py", reviews, how), rounds
        )
        found.append(measure.compare("ingest, reviews", shop.name, name, "k lines/s", lines / 1e3, *seconds, floor))
    with tempfile.TemporaryDirectory(prefix="vasg-bench-") as folder:
        one = Path(folder, "one.json.gz")
        with gzip.open(reviews) as every:
            one.write_bytes(gzip.compress(every.readline()))
        size = features.stat().st_size / 1e6
        floor = f"floor: {_read(features):.2f} s to read the file from the page cache"
        seconds = measure.alternate(
            partial(_job, shop, one, features=True), partial(_peer, "features_ingest.py", features, DIM), rounds
        )
    found.append(measure.compare("ingest, features", shop.name, "numpy and pyarrow", "MB/s", size, *seconds, floor))
    return found


def _job(shop: Shop, reviews: Path, features: bool) -> float:
    """Seconds of preprocess_reviews on these reviews, with the shop's feature file or without."""
    root = Path(tempfile.mkdtemp(prefix="vasg-bench-"))
    try:
        text = f'[reviews]\npath = "{reviews}"\nformat = "amazon_2014"\n'
        if features:
            text += f'[features]\nsource = "feature_file"\npath = "{shop.raw / amazon_files.FEATURES}"\ndim = {DIM}\n'
        (root / "c.toml").write_text(text, encoding="utf-8")
        return measure.job("preprocess_reviews", root / "c.toml", root / "w")
    finally:
        shutil.rmtree(root)


def _peer(script: str, *arguments: object) -> float:
    """Seconds of a peer that needs no environment of its own; it writes Parquet, too."""
    with tempfile.TemporaryDirectory(prefix="vasg-bench-") as folder:
        command = [sys.executable, measure.HERE / "peers" / script, *arguments, Path(folder, "out.parquet")]
        return measure.report(command)["seconds"]


def _unpacked(path: Path) -> tuple[int, int, float]:
    """Lines, bytes and the seconds it takes to have them without looking at them."""
    started, lines, size = time.perf_counter(), 0, 0
    with gzip.open(path) as file:
        while block := file.read(_BLOCK):
            lines, size = lines + block.count(b"\n"), size + len(block)
    return lines, size, time.perf_counter() - started


def _read(path: Path) -> float:
    """Seconds to read a file a second time."""
    for _ in range(2):
        started = time.perf_counter()
        with path.open("rb") as file:
            while file.read(_BLOCK):
                pass
    return time.perf_counter() - started
