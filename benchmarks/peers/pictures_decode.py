"""Decodes every picture of a folder to RGB on two processes: FOLDER."""

import json
import sys
import time
from multiprocessing import Pool
from pathlib import Path

from PIL import Image


def decode(path: Path) -> int:
    """Bytes of pixels."""
    with Image.open(path) as picture:
        return len(picture.convert("RGB").tobytes())


if __name__ == "__main__":
    paths = sorted(Path(sys.argv[1]).iterdir())
    with Pool(2) as pool:
        pool.map(decode, paths[:2])  # the processes are there
        started = time.perf_counter()
        pool.map(decode, paths, chunksize=64)
        print(json.dumps({"seconds": time.perf_counter() - started}))
