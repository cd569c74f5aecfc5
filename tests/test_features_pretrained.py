"""Pretrained networks as encoders: those that cannot be had are explained, those that can give the penultimate feature."""

import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_features_encoders import noise

from vasg.errors import ConfigurationError
from vasg.features.encoders import load_encoder


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet", "", "there is no encoder resnet; known are descriptor, torchvision:NAME, transformers:NAME"),
        ("torchvision:", "", "there is no encoder torchvision:"),
        ("descriptor", "model.pt", "encoder descriptor has no weights; remove model.pt"),
        ("torchvision:resnet50", "", "features.weights: it is not set; torchvision:resnet50 needs the file"),
        ("torchvision:resnet50", "/nowhere/model.pt", "/nowhere/model.pt is not there"),
        ("transformers:google/vit-base", "/nowhere", "transformers:google/vit-base needs its folder"),
    ],
)
def test_encoders_that_cannot_be_had(name: str, weights: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_encoder(name, weights)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "failure", [ImportError("No module named 'torchvision'"), RuntimeError("operator does not exist"), OSError()]
)
def test_a_library_that_does_not_import_is_explained(
    failure: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(name: str) -> types.ModuleType:
        raise failure

    weights = tmp_path / "weights.pt"
    torch.save({}, weights)
    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(ConfigurationError) as caught:
        load_encoder("torchvision:resnet50", str(weights))
    assert f"needs torchvision, which cannot be imported here ({str(failure) or 'OSError'})" in str(caught.value)


def small_network() -> torch.nn.Module:
    """[n, 3, 224, 224] -> penultimate [n, 6] -> classes [n, 2]."""
    torch.manual_seed(0)
    nn = torch.nn
    return nn.Sequential(nn.AvgPool2d(112), nn.Flatten(), nn.Linear(12, 6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 2))


@pytest.fixture
def torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the library, which has one small model: its real wheel does not import beside a CPU torch."""

    def get_model(name: str, weights: None) -> torch.nn.Module:
        if name != "small":
            raise ValueError(f"Unknown model {name}")
        return small_network()

    library, models = types.ModuleType("torchvision"), types.ModuleType("torchvision.models")
    library.__version__, models.get_model = "0.0", get_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", library)
    monkeypatch.setitem(sys.modules, "torchvision.models", models)


@pytest.mark.usefixtures("torchvision")
def test_a_torchvision_network_gives_the_input_of_its_last_layer(tmp_path: Path) -> None:
    weights, model = tmp_path / "small.pt", small_network()
    with torch.no_grad():
        model[2].bias.add_(1.0)  # so that the file is seen to count
    torch.save(model.state_dict(), weights)
    encoder = load_encoder("torchvision:small", str(weights))
    assert (encoder.dim, len(encoder.weights_sha256)) == (6, 64)
    # A black square: after mean and deviation each channel is a constant.
    feature = encoder.encode([Image.new("RGB", (300, 300), "black"), noise(50, 80)])[0]
    channels = -torch.tensor([0.485, 0.456, 0.406]) / torch.tensor([0.229, 0.224, 0.225])
    expected = model[3](model[2](channels.repeat_interleave(4)))
    np.testing.assert_allclose(feature, expected.detach().numpy(), rtol=1e-3, atol=1e-3)

    with pytest.raises(ConfigurationError, match="torchvision has no model vgg99"):
        load_encoder("torchvision:vgg99", str(weights))
    torch.save({"other.weight": torch.zeros(1)}, weights)
    with pytest.raises(ConfigurationError, match="is not a state_dict of small"):
        load_encoder("torchvision:small", str(weights))
    weights.write_bytes(b"\x80\x04cposix\nsystem\n(X\x04\x00\x00\x00falsetR.")
    with pytest.raises(ConfigurationError, match="is not a state_dict of small"):
        load_encoder("torchvision:small", str(weights))


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed (optional)")
@pytest.mark.parametrize("kind", ["vit", "clip"])
def test_a_transformers_network_from_a_folder(kind: str, tmp_path: Path) -> None:
    import transformers

    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 37}
    vision = {"image_size": 32, "patch_size": 8, **size}
    model, dim = transformers.ViTModel(transformers.ViTConfig(**vision)), 32
    if kind == "clip":
        text = {"vocab_size": 99, "bos_token_id": 1, "eos_token_id": 2, **size}
        model = transformers.CLIPModel(
            transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
        )
        dim = 24
    model.save_pretrained(tmp_path)
    with pytest.raises(ConfigurationError, match="preprocessor_config"):
        load_encoder(f"transformers:tiny/{kind}", str(tmp_path))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}))
    encoder = load_encoder(f"transformers:tiny/{kind}", str(tmp_path))
    features = encoder.encode([noise(112, 168), Image.new("RGB", (40, 40), "black")])
    assert features.shape == (2, encoder.dim) == (2, dim)
    with torch.inference_mode():
        pixels = torch.full((1, 3, 32, 32), -1.0)
        expected = (
            model.eval().get_image_features(pixels)
            if kind == "clip"
            else model.eval()(pixels).last_hidden_state.mean(1)
        )
    expected = getattr(expected, "pooler_output", expected)
    np.testing.assert_allclose(features[1], expected[0].numpy(), rtol=1e-4, atol=1e-5)
    other = transformers.ViTModel(transformers.ViTConfig(**vision | {"num_hidden_layers": 1}))
    other.save_pretrained(tmp_path / "other")
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
    with pytest.raises(ConfigurationError, match="has no weights for"):
        load_encoder(f"transformers:tiny/{kind}", str(tmp_path))
