"""Where each walk is written: files, row groups and order, the same for every strategy and any number of tasks.

The walks of one start type stand in one sequence of T positions, cut into macro_rows x lanes row groups whose sizes
differ by at most one: row group r belongs to macro row r // lanes and to lane r % lanes. Consecutive macro rows form a
group of ``lanes`` files, one a lane. A training worker reads whole lanes, so all workers have the same number of row
groups, and step by step they see what one worker would see.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, gcd
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vasg import schemas
from vasg.errors import DataError
from vasg.randomness import hash64
from vasg.walks.graph import node_type
from vasg.warehouse.parts import Target

_MACRO_ROWS = 64  # of a file, at most: tasks of about a second, for their start takes a tenth ...
_FILES = 4096  # ... unless there would be more files than this


@dataclass(frozen=True)
class Layout:
    """The sequence of the walks of one start type and the files they go to."""

    walks: int  # T
    lanes: int
    macro_rows: int
    groups: int  # of consecutive macro rows
    # the walk at position p is (stride x p + offset) mod T: a spread sample of the walks in every row group
    stride: int
    offset: int

    @property
    def files(self) -> int:
        """Number of files; file = group x lanes + lane."""
        return self.groups * self.lanes

    def row_groups(self, file: int) -> list[tuple[int, int]]:
        """The positions [begin, end) of each row group of a file."""
        group, lane = divmod(file, self.lanes)
        first, last = (g * self.macro_rows // self.groups for g in (group, group + 1))
        count = self.macro_rows * self.lanes
        return [
            (r * self.walks // count, (r + 1) * self.walks // count)
            for r in range(first * self.lanes + lane, last * self.lanes, self.lanes)
        ]

    def files_of(self, begin: int, end: int) -> NDArray[np.int64]:
        """The files that the positions [begin, end) are in."""
        count = self.macro_rows * self.lanes
        first, last = (((p + 1) * count - 1) // self.walks for p in (begin, end - 1))
        starts = [r * self.walks // count for r in range(first + 1, last + 1)]
        row_group = first + np.searchsorted(np.array(starts, np.int64), np.arange(begin, end), side="right")
        macro_row, lane = np.divmod(row_group, self.lanes)
        group = ((macro_row + 1) * self.groups - 1) // self.macro_rows
        return np.asarray(group * self.lanes + lane, np.int64)

    def walk_numbers(self, begin: int, end: int) -> NDArray[np.int64]:
        """Which of the T walks stand at the positions [begin, end)."""
        numbers = np.array([(self.stride * begin + self.offset) % self.walks], np.int64)
        while len(numbers) < end - begin:  # doubling keeps every sum below 2T: exact for any T below 2**62
            ahead = self.stride * len(numbers) % self.walks
            numbers = np.concatenate([numbers, (numbers + ahead) % self.walks])
        return numbers[: end - begin]


def start_nodes(degrees: NDArray[np.uint32], users: int) -> dict[str, NDArray[Any]]:
    """By start type, the nodes with a neighbour, ascending; the others cannot walk."""
    kind = node_type(len(degrees))
    return {
        "user": np.flatnonzero(degrees[:users]).astype(kind),
        "product": (np.flatnonzero(degrees[users:]) + users).astype(kind),
    }


def plan(walks: int, lanes: int, row_group_size: int, seed: int, start_type: str) -> Layout:
    """The layout of the walks of one start type. Raises DataError when there are fewer walks than lanes."""
    if walks < lanes:
        raise DataError(
            f"table walks: {walks} walks start at a {start_type}, fewer than walks.lanes = {lanes}; "
            "the network is too small: lower walks.lanes or raise walks.walks_per_node"
        )
    macro_rows = min(ceil(walks / (lanes * row_group_size)), walks // lanes)
    groups = ceil(macro_rows / max(_MACRO_ROWS, ceil(macro_rows * lanes / _FILES)))
    offset = int(hash64(seed, "lane_offset", ("user", "product").index(start_type))) % walks
    return Layout(walks, lanes, macro_rows, groups, _stride(walks), offset)


def _stride(walks: int) -> int:
    """The first number from T x 0.618... on that shares no divisor with T: multiples of it spread evenly over [0, T)."""
    stride = max(1, int(walks * 0.6180339887498949))
    while gcd(stride, walks) != 1:
        stride += 1
    return stride


def walk_ids(numbers: NDArray[np.int64], starts: NDArray[Any], walks_per_node: int) -> NDArray[np.int64]:
    """The walk_id of the walks with these numbers; ``starts`` are the start nodes of the start type, ascending."""
    node, repetition = np.divmod(numbers, walks_per_node)
    ids: NDArray[np.int64] = starts[node].astype(np.int64) * walks_per_node + repetition
    return ids


def targets(layouts: Mapping[str, Layout], directory: Path, id_type: np.dtype[Any]) -> dict[str, Target]:
    """Where the files of each start type go; ``id_type`` is int32 or int64."""
    return {kind: Target(directory, schema(id_type), f"start_type={kind}") for kind in layouts}


def files(layouts: Mapping[str, Layout]) -> list[tuple[str, int]]:
    """All files, as (start type, file): one task each."""
    return [(kind, file) for kind, plan in layouts.items() for file in range(plan.files)]


def schema(id_type: np.dtype[Any]) -> pa.Schema:
    """The schema of a file of the table; ``id_type`` is int32 or int64."""
    return schemas.TABLES["walks"].arrow(walk=pa.list_(pa.from_numpy_dtype(id_type)))


def table(ids: NDArray[np.int64], walks: NDArray[Any]) -> pa.Table:
    """Rows of the table from walk ids [n] and walks [n, walk_length], without an object a row."""
    return pa.table([pa.array(ids), schemas.list_column(walks)], schema(walks.dtype))
