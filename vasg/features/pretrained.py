"""Pretrained networks as encoders. Their libraries are large and optional, so they are imported only when asked for.

Nothing is downloaded: the weights are a file or a folder on every host. ``torch.load`` runs with ``weights_only=True`` and
transformers without remote code, so weights are read as data and never as programs.
"""

import hashlib
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL import __version__ as pillow

from vasg.errors import ConfigurationError, first_line
from vasg.warehouse.files import sha256

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and standard deviation of ImageNet's colours


class Network:
    """A network without its classifier: [n, 3, side, side] normalised pixels in, features [n, I] out."""

    def __init__(
        self, name: str, version: str, weights: Path, forward: Callable[[torch.Tensor], torch.Tensor],
        side: int, mean: tuple[float, ...], std: tuple[float, ...],
    ) -> None:  # fmt: skip
        self.name, self.version, self.weights_sha256 = name, version, _sha256(weights)
        self.transform = f"padded to a white square, {side} x {side} bicubic, mean {mean}, standard deviation {std}"
        self._forward, self._side = forward, side
        self._mean, self._std = np.array(mean, np.float32), np.array(std, np.float32)
        self.dim = self.encode([Image.new("RGB", (1, 1))]).shape[1]

    def encode(self, pictures: list[Image.Image]) -> NDArray[np.float32]:
        """Features [n, I], one picture at a time: a batch would change the last bits with its size."""
        with torch.inference_mode():
            features = [self._forward(self._pixels(picture)).reshape(-1) for picture in pictures]
        return torch.stack(features).float().numpy()

    def _pixels(self, picture: Image.Image) -> torch.Tensor:
        square = ImageOps.pad(picture, (self._side, self._side), Image.Resampling.BICUBIC, color="white")
        scaled = (np.asarray(square, dtype=np.float32) / 255 - self._mean) / self._std  # [side, side, 3]
        return torch.from_numpy(scaled).permute(2, 0, 1)[None]  # [1, 3, side, side]


def torchvision_network(name: str, weights: str) -> Network:
    """``torchvision:resnet50`` and the like: the input of the last linear layer. ``weights`` is a state_dict file."""
    path = _weights(name, weights, Path.is_file, "the file of its state_dict (torch.save(model.state_dict(), FILE))")
    models = _library("torchvision.models", name)
    architecture = name.partition(":")[2]
    try:
        model = models.get_model(architecture, weights=None)
    except ValueError:
        raise ConfigurationError(f"features.encoder: torchvision has no model {architecture}") from None
    try:
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises many types for a file that is not what it should be
        raise ConfigurationError(
            f"features.weights: {path} is not a state_dict of {architecture}: {first_line(error)}"
        ) from None
    layer = [key for key, module in model.named_modules() if isinstance(module, torch.nn.Linear)][-1]
    model.set_submodule(layer, torch.nn.Identity())
    return Network(name, _versions(importlib.import_module("torchvision")), path, model.eval(), 224, *_IMAGENET)


def transformers_network(name: str, weights: str) -> Network:
    """``transformers:google/vit-base-patch16-224`` and the like. ``weights`` is the folder of ``save_pretrained``.

    The feature is the image embedding of models that have one (CLIP, SigLIP), otherwise the mean of the last hidden
    state over all positions.
    """
    path = _weights(name, weights, Path.is_dir, "its folder (save_pretrained, or a copy of the repository)")
    transformers = _library("transformers", name)
    try:
        settings = json.loads((path / "preprocessor_config.json").read_text())
        model, found = transformers.AutoModel.from_pretrained(
            path, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # missing files, other formats, unknown architectures: each raises its own type
        raise ConfigurationError(f"features.weights: {path} cannot be loaded for {name}: {first_line(error)}") from None
    missing = sorted(key for key in found["missing_keys"] if not key.startswith("pooler."))  # the pooler is not used
    if missing:
        raise ConfigurationError(
            f"features.weights: {path} has no weights for {missing[0]} (and {len(missing) - 1} more)"
        )
    model.eval()
    side = int(getattr(model.config, "vision_config", model.config).image_size)
    return Network(
        name, _versions(transformers), path, lambda pixels: _image_feature(model, pixels), side,
        tuple(settings["image_mean"]), tuple(settings["image_std"]),
    )  # fmt: skip


def _versions(library: Any) -> str:
    """Of all whose arithmetic a feature depends on."""
    return f"{library.__version__} (torch {torch.__version__}, Pillow {pillow})"


PRETRAINED: dict[str, Callable[[str, str], Network]] = {
    "torchvision": torchvision_network,
    "transformers": transformers_network,
}


def _image_feature(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    if hasattr(model, "get_image_features"):
        found = model.get_image_features(pixel_values=pixels)
        return found if isinstance(found, torch.Tensor) else found.pooler_output  # a tensor up to transformers 4
    hidden: torch.Tensor = model(pixel_values=pixels).last_hidden_state  # [1, positions, I] or [1, I, height, width]
    return hidden.mean(dim=(2, 3)) if hidden.ndim == 4 else hidden.mean(dim=1)


def _library(module: str, encoder: str) -> Any:
    library = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    # a torchvision built for another torch fails with RuntimeError, a missing one with ImportError
    except Exception as error:
        raise ConfigurationError(
            f"features.encoder: {encoder} needs {library}, which cannot be imported here ({first_line(error)}); install a "
            f"{library} that fits torch {torch.__version__}, or use encoder descriptor"
        ) from None


def _weights(encoder: str, weights: str, is_there: Callable[[Path], bool], what: str) -> Path:
    path = Path(weights)
    if not weights or not is_there(path):
        found = f"{weights} is not there" if weights else "it is not set"
        raise ConfigurationError(
            f"features.weights: {found}; {encoder} needs {what} on every host: nothing is downloaded"
        )
    return path


def _sha256(path: Path) -> str:
    """Of a file, or of the names and contents of all files of a folder."""
    if path.is_file():
        return sha256(path)
    digest = hashlib.sha256()
    for entry in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{entry.relative_to(path)}\0{sha256(entry)}\n".encode())
    return digest.hexdigest()
