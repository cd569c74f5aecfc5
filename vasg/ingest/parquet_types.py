"""Whether Parquet files agree on the types of their columns.

Spark reads all files with the types of the first one. Where another stores the same column as a number of another kind,
it may read other numbers without a word: 65537 as 1 where the first has 16 bits, 1.50 as 150, a day as seconds.
"""

import json
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from vasg.errors import DataError
from vasg.spark.paths import plain

_THREADS = 16  # that read the ends of files, which is waiting more than work
_NUMBERS = ("INT32", "INT64")  # what days, times and exact decimals are stored as, too


class _Kind(NamedTuple):
    name: str
    bits: int


def check_types(files: Sequence[str], names: Collection[str]) -> None:
    """Raise DataError unless all ``files`` (URIs) have the columns ``names`` in types that the first one's can hold.

    Left to Spark, which refuses them itself: files it cannot read, and columns that are numbers in one file only.
    """
    paths = [plain(uri) for uri in sorted(files)]
    with ThreadPoolExecutor(_THREADS) as pool:
        first, *others = pool.map(partial(_numbers, names={name.lower() for name in names}), paths)
    for path, kinds in zip(paths[1:], others, strict=True):
        for name in first.keys() & kinds.keys():
            if not _holds(first[name], kinds[name]):
                raise DataError(
                    f"{path}: column types differ: {name} is {_said(kinds[name])}, but {_said(first[name])} in {paths[0]}; "
                    "give it one type in all files"
                )


def _numbers(path: str, names: Collection[str]) -> dict[str, _Kind]:
    """The kinds of those columns that are stored as integers."""
    try:
        schema = pq.read_metadata(path).schema
    except (OSError, pa.ArrowInvalid):
        return {}
    columns = [schema.column(i) for i in range(len(schema))]
    return {c.path.lower(): _kind(c) for c in columns if c.path.lower() in names and c.physical_type in _NUMBERS}


def _kind(column: Any) -> _Kind:
    logical, bits = json.loads(column.logical_type.to_json()), int(column.physical_type[3:])
    if logical["Type"] == "None":
        return _Kind("integer", bits)
    if logical["Type"] == "Int":
        return _Kind("integer" if logical["isSigned"] else "integer without a sign", logical["bitWidth"])
    return _Kind(logical["Type"].lower(), 0)


def _holds(wanted: _Kind, found: _Kind) -> bool:
    return wanted.name == found.name and found.bits <= wanted.bits


def _said(kind: _Kind) -> str:
    return f"{kind.name} of {kind.bits} bits" if kind.bits else kind.name
