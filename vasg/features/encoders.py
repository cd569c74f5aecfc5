"""Encoders: what turns a picture into an image feature, behind one small interface."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from vasg.errors import ConfigurationError
from vasg.features.descriptor import Descriptor

Facts = dict[str, str | int]


class Encoder(Protocol):
    """Pictures to features. Two encoders give comparable features only if all their ``facts`` are equal."""

    name: str
    version: str  # of the code that computes the feature
    weights_sha256: str  # "" where there are no weights
    transform: str  # what is done to a picture first, in words
    dim: int  # I

    def encode(self, pictures: list[Image]) -> NDArray[np.float32]:
        """Features [n, I] of n RGB pictures of any size; a picture's feature does not depend on the others."""
        ...


def load_encoder(name: str, weights: str = "") -> Encoder:
    """The encoder ``descriptor``, or ``torchvision:NAME`` or ``transformers:NAME`` with its local weights.

    Raises ConfigurationError for an unknown name, and where the library or the weights are missing.
    """
    library, _, model = name.partition(":")
    if name == Descriptor.name:
        if weights:
            raise ConfigurationError(f"features.weights: encoder {name} has no weights; remove {weights}")
        return Descriptor()
    # here: torch takes seconds and 200 MB a Spark task; the descriptor needs none
    from vasg.features.pretrained import PRETRAINED

    if library in PRETRAINED and model:
        return PRETRAINED[library](name, weights)
    known = ", ".join([Descriptor.name, *(f"{library}:NAME" for library in PRETRAINED)])
    raise ConfigurationError(f"features.encoder: there is no encoder {name}; known are {known}")


def facts(encoder: Encoder) -> Facts:
    """What is stored with the features."""
    return {
        "encoder": encoder.name, "version": encoder.version, "weights_sha256": encoder.weights_sha256,
        "transform": encoder.transform, "dim": encoder.dim,
    }  # fmt: skip
