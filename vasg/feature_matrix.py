"""The image features of given products as one matrix in memory, read from Parquet without the JVM."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vasg import schemas
from vasg.errors import DataError
from vasg.tables import Warehouse

_BATCH = 1024  # rows read at a time: 16 MiB of features of 4,096
_HALF_LARGEST = 65504.0
_HALF_SMALLEST = 2.0**-14  # below, half precision loses digits


def feature_matrix(warehouse: Warehouse, product_ids: pa.Array) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Image features aligned with ``product_ids`` (strings, distinct): ``(features [P, I], has_feature [P])``.

    The matrix is float16 where every feature fits it (its largest number in [2^-14, 65504], or all zero), otherwise
    float32; rows of products without a feature are zero. Memory is that of the result. Raises DataError for features of
    different lengths, features that are not finite, and products with two features.
    """
    schemas.check("image_features", pq.read_schema(warehouse.files("image_features")[0]))
    found = warehouse.read_arrow("image_features", ["product_id"])["product_id"].combine_chunks()
    product_ids = product_ids.cast(found.type)
    position = (
        pc.index_in(found, value_set=product_ids).fill_null(-1).to_numpy(zero_copy_only=False)
    )  # -1: not asked for
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
    matrix: NDArray[Any] | None = None
    begin = 0
    for batch in _batches(warehouse):
        end = begin + len(batch)
        target, begin = position[begin:end], end
        matrix = np.zeros((products, batch.shape[1]), dtype) if matrix is None else matrix
        if batch.shape[1] != matrix.shape[1]:
            raise DataError(f"table image_features: features of {matrix.shape[1]} and of {batch.shape[1]} numbers")
        batch, target = batch[target >= 0], target[target >= 0]
        largest = np.abs(batch).max(axis=1, initial=0.0)
        if not np.isfinite(largest).all():
            raise DataError(f"table image_features: {(~np.isfinite(largest)).sum()} features hold NaN or infinity")
        fits = (largest == 0) | ((largest >= _HALF_SMALLEST) & (largest <= _HALF_LARGEST))
        if dtype is np.float16 and not fits.all():
            return None
        matrix[target] = batch
    return np.zeros((products, 0), dtype) if matrix is None else matrix


def _batches(warehouse: Warehouse) -> Iterator[NDArray[np.float32]]:
    """The features of the table in the order of its files, [n, I] float32 at a time."""
    for path in warehouse.files("image_features"):
        for batch in pq.ParquetFile(path).iter_batches(_BATCH, columns=["feature"]):
            yield fixed_width(batch.column(0), "image_features", "feature")


def spread(products: NDArray[np.int64], most: int = 20_000) -> NDArray[np.int64]:
    """At most ``most`` of the products, evenly spread: what is fitted on features needs no more."""
    return products[:: max(1, -(-len(products) // most))]


def transformed(
    features: NDArray[Any], has_feature: NDArray[np.bool_], size: int, function: Callable[[NDArray[np.float32]], Any]
) -> NDArray[np.float32]:
    """[P, size] what ``function`` makes of rows of features as float32, some at a time; zero without a feature."""
    result = np.zeros((len(features), size), np.float32)
    for begin in range(0, len(features), 4 * _BATCH):
        part = slice(begin, begin + 4 * _BATCH)
        result[part] = function(features[part].astype(np.float32))
    result[~has_feature] = 0
    return result


def unit(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Rows [n, d] as float32 of length 1, so that inner products are cosines; rows of zeros stay."""
    rows = rows.astype(np.float32, copy=False)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = rows / np.where(length == 0, 1, length)
    return scaled


def fixed_width(column: pa.Array, table: str, name: str) -> NDArray[np.float32]:
    """A column of float lists of one length as [n, length] float32. Raises DataError when lengths differ or are null."""
    lengths = pc.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False)
    if (lengths.size and (lengths != lengths[0]).any()) or (lengths < 0).any() or column.flatten().null_count:
        raise DataError(
            f"table {table}: column {name} should hold lists of one length without nulls, found lengths "
            f"{lengths.min()} to {lengths.max()}; write the table again"
        )
    values: NDArray[np.float32] = column.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(column), -1) if len(column) else np.zeros((0, 0), np.float32)
