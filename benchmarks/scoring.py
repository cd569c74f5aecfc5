"""Exact AUC and top 100 for every user in one pass, beside the bare matrix product and what gives the top 100 alone."""

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks import measure
from benchmarks.data import Shop
from vasg.scoring import models
from vasg.scoring.blocks import USERS, Arrays, Settings, score_block

DIM, _TOP = 100, 100
_BLOCK = 1024


def run(shop: Shop, rounds: int) -> list[measure.Result]:
    """Scores a second on two cores; every user has one test pair, and what was bought is masked."""
    generator = np.random.default_rng(0)
    users = generator.normal(size=(shop.users, DIM)).astype(np.float32)
    products = generator.normal(size=(shop.products, DIM)).astype(np.float32)
    scores = shop.users * shop.products / 1e6
    with tempfile.TemporaryDirectory(prefix="vasg-bench-") as folder:
        np.savez(Path(folder, "vectors.npz"), users=users, products=products, user=shop.user, product=shop.product)
        found = []
        for name, theirs in (
            ("bare matrix product (gives neither)", lambda: matrix_product(users, products)),
            ("faiss flat (no AUC, nothing masked)", lambda: measure.peer("topk_faiss.py", Path(folder, "vectors.npz"))),
            ("implicit (no AUC)", lambda: measure.peer("topk_implicit.py", Path(folder, "vectors.npz"))),
            ("Spark MLlib (no AUC, nothing masked)", lambda: mllib(Path(folder, "vectors.npz"))),
        ):
            seconds = measure.alternate(lambda: ours(shop, users, products), theirs, rounds)
            floor = f"floor: {2 * DIM * scores / 1e3:.0f} GFLOP of matrix product"
            found.append(measure.compare("scoring", shop.name, name, "M scores/s", scores, *seconds, floor))
    return found


def ours(shop: Shop, users: NDArray[np.float32], products: NDArray[np.float32]) -> float:
    """Seconds of the pass over all blocks on two threads, as two Spark tasks run it."""
    arrays, settings = prepare(shop, users, products)
    with ThreadPoolExecutor(2) as pool:
        started = time.perf_counter()
        blocks = range(0, shop.users, _BLOCK)
        list(pool.map(lambda at: score_block(arrays, settings, at, min(shop.users, at + _BLOCK)), blocks))
        return time.perf_counter() - started


def prepare(shop: Shop, users: NDArray[np.float32], products: NDArray[np.float32]) -> tuple[Arrays, Settings]:
    """What the tasks get: the last product of every user is his test pair. The kernels are compiled."""
    everything = np.ones(shop.products, bool)
    columns = models.catalogue(lambda chosen: products[chosen], everything, shop.products, 0)
    order = np.lexsort((shop.product, shop.user))
    starts = np.concatenate(([0], np.cumsum(np.bincount(shop.user, minlength=shop.users))))
    last = shop.product[order][starts[1:] - 1]
    arrays = Arrays(
        user=np.arange(shop.users), user_vectors=users, row_starts=np.zeros(0, np.int64), vectors=columns.vectors,
        product=columns.product, column=columns.column, known=shop.product[order], known_starts=starts, test=last,
        test_starts=np.arange(shop.users + 1), bought=np.zeros(0, np.int64), bought_starts=starts,
    )  # fmt: skip
    settings = Settings(shop.products, columns.warm_tiles, (_TOP, 0))
    score_block(arrays, settings, 0, 8)
    return arrays, settings


def mllib(vectors: Path) -> float:
    """Seconds of recommendForAllUsers on the same vectors, in the project's own environment, which has Spark."""
    return measure.report([sys.executable, measure.HERE / "peers" / "topk_mllib.py", vectors])["seconds"]


def matrix_product(users: NDArray[np.float32], products: NDArray[np.float32]) -> float:
    """Seconds of the same products, in the same tiles, that nobody looks at."""
    users, products = _whole_tiles(users, USERS), _whole_tiles(products, models.TILE)

    def block(begin: int) -> None:
        out = np.empty((USERS, models.TILE), np.float32)
        for first in range(0, len(products), models.TILE):
            for row in range(begin, min(len(users), begin + _BLOCK), USERS):
                np.matmul(users[row : row + USERS], products[first : first + models.TILE].T, out=out)

    with threadpool_limits(1, "blas"), ThreadPoolExecutor(2) as pool:
        started = time.perf_counter()
        list(pool.map(block, range(0, len(users), _BLOCK)))
        return time.perf_counter() - started


def _whole_tiles(vectors: NDArray[np.float32], rows: int) -> NDArray[np.float32]:
    return np.pad(vectors, ((0, -len(vectors) % rows), (0, 0)))
