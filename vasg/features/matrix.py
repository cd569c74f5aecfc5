"""The image features of given products as one matrix in memory, read from Parquet without the JVM."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vasg import schemas
from vasg.errors import DataError
from vasg.machine.cores import cores
from vasg.warehouse.tables import Warehouse

_BATCH = 1024  # rows read at a time: 16 MiB of features of 4,096
_HALF_LARGEST = 65504.0
_HALF_SMALLEST = 2.0**-14  # below, half precision loses digits


def feature_matrix(warehouse: Warehouse, product_ids: pa.Array) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Image features aligned with ``product_ids`` (strings, distinct): ``(features [P, I], has_feature [P])``.

    The matrix is float16 where every feature fits it (its largest number in [2^-14, 65504], or all zero), otherwise
    float32; rows of products without a feature are zero. Memory is that of the result. Raises DataError for features of
    different lengths, features that are not finite, and products with two features.
    """
    found = warehouse.read_arrow("image_features", ["product_id"])["product_id"].combine_chunks()
    product_ids = product_ids.cast(found.type)
    # -1: not asked for
    position = pc.index_in(found, value_set=product_ids).fill_null(-1).to_numpy(zero_copy_only=False)
    count = np.bincount(position[position >= 0], minlength=len(product_ids))
    if count.max(initial=0) > 1:
        raise DataError(
            f"table image_features: product {product_ids[int(count.argmax())]} has {count.max()} features instead of one; "
            "write the table again"
        )
    for dtype in (np.float16, np.float32):
        features = _fill(warehouse, position, len(product_ids), dtype)
        if features is not None:
            break
    assert features is not None  # float32 takes every feature
    return features, count > 0


def _fill(warehouse: Warehouse, position: NDArray[Any], products: int, dtype: type) -> NDArray[Any] | None:
    """The matrix in this precision, or None when a feature does not fit it."""
    groups = _row_groups(warehouse)
    width = next((len(batch[0]) for group in groups for _, batch in _batches(*group) if len(batch)), 0)
    matrix: NDArray[Any] = np.zeros((products, width), dtype)

    def fill(group: tuple[Path, int, int]) -> bool:
        return all(_put(matrix, position[begin : begin + len(batch)], batch) for begin, batch in _batches(*group))

    with ThreadPoolExecutor(cores()) as pool:  # a Parquet column is decoded on one core
        return matrix if all(pool.map(fill, groups)) else None


def _put(matrix: NDArray[Any], target: NDArray[Any], batch: NDArray[np.float32]) -> bool:
    """Set the rows ``target`` [n] (-1: nobody asked) to ``batch`` [n, I]; False when half precision does not hold them."""
    if batch.shape[1] != matrix.shape[1]:
        raise DataError(f"table image_features: features of {matrix.shape[1]} and of {batch.shape[1]} numbers")
    batch, target = batch[target >= 0], target[target >= 0]
    largest = np.abs(batch).max(axis=1, initial=0.0)
    if not np.isfinite(largest).all():
        raise DataError(f"table image_features: {(~np.isfinite(largest)).sum()} features hold NaN or infinity")
    fits = (largest == 0) | ((largest >= _HALF_SMALLEST) & (largest <= _HALF_LARGEST))
    if matrix.dtype == np.float16 and not fits.all():
        return False
    matrix[target] = batch
    return True


def _row_groups(warehouse: Warehouse) -> list[tuple[Path, int, int]]:
    """(file, row group, number of its first row) of the table, in the order of its files."""
    found, begin = [], 0
    for path in warehouse.files("image_features"):
        metadata = pq.read_metadata(path)
        for number in range(metadata.num_row_groups):
            found.append((path, number, begin))
            begin += metadata.row_group(number).num_rows
    return found


def _batches(path: Path, row_group: int, begin: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The features of a row group, [n, I] float32 at a time, each with the number of its first row."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH, row_groups=[row_group], columns=["feature"]):
            yield begin, schemas.fixed_width(batch.column(0), "image_features", "feature")
            begin += len(batch)
