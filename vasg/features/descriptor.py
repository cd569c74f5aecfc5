"""The default encoder: shape, silhouette and colour statistics, no weights.

A feature is three blocks, each of length 1 times its weight, so that cosine compares shape with shape and colour with
colour and the mean of several features is a sensible profile:

- shape [9 x 6 x 9]: histograms of oriented gradients (Dalal and Triggs, CVPR 2005) of a 48 x 72 grey picture, 8 x 8
  pixels a cell, 9 orientations, every cell normalised by itself;
- silhouette [12 x 8]: how much each cell differs from the background;
- colour [5 x 5 x 5]: square root of the CIELAB histogram of the foreground (Hellinger kernel), where a pixel is shared
  linearly among the neighbouring bins.

The background of a product picture is plain: its colour is the median along the left, right and upper edges.
"""

from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image, Resampling
from skimage.color import rgb2lab
from skimage.feature import hog

_GREY = (48, 72)  # width, height of the picture that shape is taken from
_SMALL = (24, 36)  # width, height of the picture that colour and silhouette are taken from
_CELL, _ORIENTATIONS, _BINS = 8, 9, 5
_SILHOUETTE = (12, 8)  # rows, columns
_LIGHTNESS, _CHROMA = (0.0, 100.0), (-48.0, 48.0)  # range of the bins; what is outside counts to the outermost
_NOTICEABLE = 15.0  # distance from the background, in CIELAB, at which a pixel is 63 % foreground
_FLAT = 3e-4  # a cell with this share of the gradients (the mean is 0.02) counts as flat
_WEIGHTS = {"shape": 1.0, "silhouette": 0.5, "colour": 0.7}

Floats = NDArray[Any]


class Descriptor:
    """See the module."""

    name = "descriptor"
    version = f"1 (scikit-image {version('scikit-image')}, Pillow {version('pillow')})"
    weights_sha256 = ""
    transform = f"grey {_GREY[0]} x {_GREY[1]} and CIELAB {_SMALL[0]} x {_SMALL[1]}, box filter, aspect ratio not kept"
    dim = (_GREY[0] // _CELL) * (_GREY[1] // _CELL) * _ORIENTATIONS + _SILHOUETTE[0] * _SILHOUETTE[1] + _BINS**3

    def encode(self, pictures: list[Image]) -> Floats:
        """Features [n, dim], not negative."""
        small = np.stack([np.asarray(picture.resize(_SMALL, Resampling.BOX)) for picture in pictures])
        lab = rgb2lab(small.astype(np.float32) / 255)  # [n, 36, 24, 3]
        foreground = _foreground(lab)  # [n, 36, 24]
        blocks = {
            "shape": np.stack([_shape(picture) for picture in pictures]),
            "silhouette": _silhouette(foreground),
            "colour": _colour(lab, foreground),
        }
        features: Floats = np.hstack([_WEIGHTS[name] * _unit(block) for name, block in blocks.items()])
        return features.astype(np.float32)


def _shape(picture: Image) -> Floats:
    """[486]."""
    grey = np.asarray(picture.convert("L").resize(_GREY, Resampling.BOX), dtype=np.float32) / 255
    # All cells as one block gives each cell's share of the picture's gradients; then each cell by itself.
    shares = hog(grey, _ORIENTATIONS, (_CELL, _CELL), (_GREY[1] // _CELL, _GREY[0] // _CELL), block_norm="L1")
    cells = shares.reshape(-1, _ORIENTATIONS)
    shape: Floats = cells / np.sqrt((cells**2).sum(axis=1, keepdims=True) + _FLAT**2)
    return shape.ravel()


def _foreground(lab: Floats) -> Floats:
    """How sure it is that a pixel is not background, [n, height, width] in [0, 1]."""
    edge = np.concatenate([lab[:, 0], lab[:, :, 0], lab[:, :, -1]], axis=1)  # [n, pixels, 3]
    distance = np.linalg.norm(lab - np.median(edge, axis=1)[:, None, None], axis=3)
    foreground: Floats = 1 - np.exp(-((distance / _NOTICEABLE) ** 2))
    return foreground


def _silhouette(foreground: Floats) -> Floats:
    """Mean foreground of each cell, [n, 96]."""
    n, height, width = foreground.shape
    rows, columns = _SILHOUETTE
    cells: Floats = foreground.reshape(n, rows, height // rows, columns, width // columns).mean(axis=(2, 4))
    return cells.reshape(n, -1)


def _colour(lab: Floats, foreground: Floats) -> Floats:
    """Square root of the share of the foreground in each bin, [n, 125]."""
    n = len(lab)
    weight = foreground.reshape(n, -1) + 1e-3  # a picture without foreground is described by its background
    bins = [_share(lab[..., i].reshape(n, -1), *limits) for i, limits in enumerate((_LIGHTNESS, _CHROMA, _CHROMA))]
    lightness = bins[0] * (weight / weight.sum(axis=1, keepdims=True))[..., None]  # [n, pixels, 5]
    chroma = (bins[1][..., :, None] * bins[2][..., None, :]).reshape(n, -1, _BINS**2)  # [n, pixels, 25]
    histogram: Floats = lightness.transpose(0, 2, 1) @ chroma  # [n, 5, 25]
    return np.sqrt(histogram).reshape(n, -1)


def _share(values: Floats, low: float, high: float) -> Floats:
    """Each value shared between the two nearest of _BINS bins: [n, pixels] -> [n, pixels, _BINS], sums of 1."""
    position = np.clip((values - low) / (high - low), 0, 1) * (_BINS - 1)
    shares: Floats = np.maximum(0, 1 - np.abs(position[..., None] - np.arange(_BINS, dtype=np.float32)))
    return shares


def _unit(block: Floats) -> Floats:
    """Rows of length 1; a row of zeros stays."""
    unit: Floats = block / np.maximum(np.linalg.norm(block, axis=1, keepdims=True), np.float32(1e-9))
    return unit
