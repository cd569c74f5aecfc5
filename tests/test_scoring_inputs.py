"""What scoring reads: a table of vectors that breaks its contract is named."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from scoring_shop import publish, shop, tables

from vasg.errors import DataError
from vasg.scoring.inputs import read_baseline, read_embeddings
from vasg.warehouse.tables import Warehouse


@pytest.mark.parametrize(
    ("table", "read"),
    [("embeddings", read_embeddings), ("baseline_embeddings", lambda where, nodes: read_baseline(where, "bpr", nodes))],
)
def test_vectors_that_are_there_twice_are_named_with_their_table(
    tmp_path: Path, table: str, read: Callable[[Warehouse, int], object]
) -> None:
    some = shop()
    content, nodes = tables(some), some.purchases.users + some.purchases.products
    content[table] = pa.concat_tables([content[table], content[table].slice(0, 1)])
    warehouse, node = publish(tmp_path, content), content[table]["node"][0].as_py()
    with pytest.raises(DataError, match=f"^table {table}: node {node} has more than one vector; run train again$"):
        read(warehouse, nodes)
