"""What is taken over from the last version of the features: those whose picture, encoder, limit and code are the same."""

from collections.abc import Iterator, Set
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vasg import schemas
from vasg.errors import DataError
from vasg.features.encoders import Facts
from vasg.features.listing import Stamp
from vasg.installation import code_version
from vasg.warehouse.parts import Target, write_here
from vasg.warehouse.publication import Part
from vasg.warehouse.tables import Warehouse

FEATURES, SOURCES = "image_features", "feature_sources"

_ROW_GROUP = 512  # features at most
_PER_FILE = 128  # row groups: readers open a file for each

Made = tuple[str, Stamp]  # the product whose feature was made from a file, and how the file was


def made_by(encoder: Facts, max_pixels: int) -> Facts:
    """All that decides a feature beside its picture, kept with ``feature_sources``; ``encoder`` are the encoder's facts."""
    return {**encoder, "max_pixels": max_pixels, "code": code_version()}


def last_features(warehouse: Warehouse, maker: Facts) -> dict[str, Made]:
    """What the published features were made from, by path; empty where they are not there or were made otherwise.

    Prints why published features cannot be used.
    """
    if not (warehouse.has(FEATURES) and warehouse.has(SOURCES)):
        return {}
    try:
        manifests = [warehouse.manifest(table) for table in (FEATURES, SOURCES)]
        if manifests[0]["run_id"] != manifests[1]["run_id"]:  # a feature file came between
            return {}
        before = manifests[1]["facts"]
        if before != maker:
            other = ", ".join(name for name in maker if maker[name] != before.get(name))
            print(f"extract_features: all pictures are encoded, as the last features had another {other}", flush=True)
            return {}
        for table in (FEATURES, SOURCES):
            warehouse.verify(table)
        rows = warehouse.read_arrow(SOURCES)
    except DataError as error:
        print(f"extract_features: all pictures are encoded, as the last features cannot be used: {error}", flush=True)
        return {}
    products, paths, sizes, times = (rows[name].to_pylist() for name in ("product_id", "source", "bytes", "changed"))
    return {
        path: (product, (size, time)) for product, path, size, time in zip(products, paths, sizes, times, strict=True)
    }


def take_over(warehouse: Warehouse, products: Set[str], directory: Path) -> list[Part]:
    """Write the published features of these products into ``directory``; in memory is a row group at a time."""
    kept = _row_groups(warehouse, products) if products else iter(())
    target, parts = Target(directory, schemas.TABLES[FEATURES].arrow()), list[Part]()
    while part := write_here(islice(kept, _PER_FILE), target):
        parts += part
    return parts


def sources(made: dict[str, Made]) -> pa.Table:
    """The table ``feature_sources``."""
    columns = [
        [product for product, _ in made.values()], list(made), [size for _, (size, _) in made.values()],
        [time for _, (_, time) in made.values()],
    ]  # fmt: skip
    schema = schemas.TABLES[SOURCES].arrow()
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )


def _row_groups(warehouse: Warehouse, products: Set[str]) -> Iterator[pa.Table]:
    """Batches reach over the row groups of a file, so that small ones of many nights do not pile up."""
    for path in warehouse.files(FEATURES):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_ROW_GROUP):
                kept = batch.filter(pa.array([product in products for product in batch["product_id"].to_pylist()]))
                if kept.num_rows:
                    yield pa.Table.from_batches([kept])
