"""Small pictures of products, for people to look at."""

import os.path
from collections.abc import Iterator
from glob import glob
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from vasg.config import Config
from vasg.features.pattern import PathPattern
from vasg.features.pictures import MAX_BYTES, PictureError, decode
from vasg.spark.paths import without_scheme


def thumbnails(config: Config, product_ids: list[str], size: int) -> dict[str, NDArray[np.uint8]]:
    """RGB pictures [height, width, 3] of the products, ``size`` pixels on the longer side at most, larger ones shrunk.

    A product is left out where it has no usable picture on a local file system; all are where features do not come from
    pictures. Raises ConfigurationError for a wrong features.path.
    """
    if config.features.source != "pictures":
        return {}
    pattern, found = PathPattern(config.features.path), {}
    for product_id in product_ids:
        for path in _paths(pattern, product_id):
            picture = _decoded(path, config.features.max_pixels)
            if picture is not None:
                picture.thumbnail((size, size))
                found[product_id] = np.asarray(picture, np.uint8)
                break
    return found


def _decoded(path: Path, max_pixels: int) -> Image | None:
    try:
        return decode(path.read_bytes(), max_pixels) if path.stat().st_size <= MAX_BYTES else None
    except (PictureError, OSError):
        return None


def _paths(pattern: PathPattern, product_id: str) -> Iterator[Path]:
    """The files that extract_features reads for the product, in its order: the first that is good counts.

    Ids are other people's text: a path that the pattern does not read back as this id, or outside its folder, is none.
    """
    if "\0" in product_id:  # no path holds one, and whoever is asked for it raises
        return
    folder = os.path.normpath(without_scheme(pattern.folder))
    for candidate in sorted(glob(without_scheme(pattern.glob_of(product_id)))):
        inside = os.path.commonpath([folder, os.path.normpath(candidate)]) == folder
        if inside and pattern.product_id(candidate) == product_id and os.path.isfile(candidate):
            yield Path(candidate)
