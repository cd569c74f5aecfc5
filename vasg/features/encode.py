"""What a Spark task does with pictures: decoded, encoded, and those that cannot be are told with their reason."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
from PIL.Image import Image
from threadpoolctl import threadpool_limits

from vasg import schemas
from vasg.errors import ConfigurationError
from vasg.features.encoders import Encoder, Facts, facts, load_encoder
from vasg.features.pattern import PathPattern
from vasg.features.pictures import MAX_BYTES, PictureError, decode
from vasg.features.unchanged import FEATURES
from vasg.spark.paths import without_scheme

REJECTS = "rejected_pictures"
TOO_LARGE, WRONG_PATH, NOT_FINITE, ALL_ZERO = (
    "file too large",
    "path does not fit the pattern",
    "feature not finite",
    "feature all zero",
)

_DETAIL = 200  # characters kept of what is wrong with a picture

Reject = tuple[str, str, str]  # path, reason, detail


@dataclass(frozen=True)
class EncodePictures:
    """What a task does: batches of (path, content) to one table of features and one of rejects."""

    pattern: PathPattern
    encoder: str
    weights: str
    facts: Facts  # of the encoder on the driver
    max_pixels: int
    skipped: frozenset[str]  # paths to pass over

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[str, pa.Table]]:
        """One thread: Spark runs a task on every core."""
        encoder = _encoder(self.encoder, self.weights)
        if facts(encoder) != self.facts:
            raise ConfigurationError(
                f"encoder {self.encoder} differs between hosts: {facts(encoder)} here, {self.facts} on the driver; install "
                "the same versions and weights everywhere"
            )
        features: list[pa.Table] = []
        rejects: list[Reject] = []
        with threadpool_limits(1):
            for batch in batches:
                features += self._encode(encoder, batch, rejects)
        if features:
            yield FEATURES, pa.concat_tables(features).combine_chunks()
        if rejects:
            yield REJECTS, reject_table(rejects)

    def _encode(self, encoder: Encoder, batch: pa.RecordBatch, rejects: list[Reject]) -> Iterator[pa.Table]:
        """The features of the good pictures of a batch; the others are added to ``rejects``."""
        pictures, products, sources = [], [], []
        for value, content in zip(batch.column("path"), batch.column("content"), strict=True):
            path = without_scheme(value.as_py())
            if not self.pattern.fits_glob(path) or path in self.skipped:
                continue  # Spark chose by folder and file name; what lies between them is not part of the pattern
            product = self.pattern.product_id(path)
            try:
                pictures.append(self._decode(product, content.as_py()))
            except PictureError as error:
                rejects.append((path, error.reason, error.detail))
            else:
                products.append(product)
                sources.append(path)
        if pictures:
            values = encoder.encode(pictures)  # [n, I]
            finite, some = np.isfinite(values).all(axis=1), values.any(axis=1)
            rejects += [
                (sources[i], ALL_ZERO if finite[i] else NOT_FINITE, "") for i in np.flatnonzero(~(finite & some))
            ]
            keep = np.flatnonzero(finite & some)
            ids = pa.array([products[i] for i in keep], pa.string())
            yield pa.table({"product_id": ids, "feature": schemas.list_column(values[keep])})

    def _decode(self, product: str | None, content: bytes | None) -> Image:
        if product is None:
            raise PictureError(WRONG_PATH)
        if content is None:
            raise PictureError(TOO_LARGE, f"more than {MAX_BYTES:,} bytes")
        return decode(content, self.max_pixels)


@cache  # once for all tasks of a Python worker
def _encoder(name: str, weights: str) -> Encoder:
    return load_encoder(name, weights)


def reject_table(rejects: list[Reject]) -> pa.Table:
    """The table ``rejected_pictures``."""
    rows = [{"source": path, "line": -1, "reason": reason, "raw": detail[:_DETAIL]} for path, reason, detail in rejects]
    return pa.Table.from_pylist(rows, schema=schemas.TABLES[REJECTS].arrow())
