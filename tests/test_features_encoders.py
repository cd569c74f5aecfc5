"""Pictures from hostile bytes, and the descriptor against slow oracles."""

import csv
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage.color import rgb2lab
from skimage.feature import hog

from vasg.features.encoders import facts, load_encoder
from vasg.features.pictures import EMPTY, NOT_A_PICTURE, SIDE, TOO_MANY_PIXELS, UNREADABLE, PictureError, decode

LIMIT = 50_000_000


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of a file."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """A coarse random RGB picture."""
    blocks = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((width, height), Image.Resampling.NEAREST)


def huge_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises a large picture."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 100)
    chunks = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data, b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


JPEG = saved(noise(112, 168), "JPEG")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", EMPTY),
        (b"product,price\n1,2\n", NOT_A_PICTURE),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", NOT_A_PICTURE),
        (JPEG[: len(JPEG) // 2], UNREADABLE),
        (JPEG[:3], NOT_A_PICTURE),
        (saved(noise(64, 64), "PNG")[:-60], UNREADABLE),
        (huge_png(100, 100), UNREADABLE),
        (huge_png(20_000, 20_000), TOO_MANY_PIXELS),
        (huge_png(7_500, 7_500), TOO_MANY_PIXELS),
        (huge_png(2**31 - 1, 2**31 - 1), TOO_MANY_PIXELS),
    ],
)
def test_what_is_no_picture_is_refused_with_a_reason(content: bytes, reason: str) -> None:
    with pytest.raises(PictureError) as caught:
        decode(content, LIMIT)
    assert caught.value.reason == reason, caught.value.detail


@pytest.mark.fault
def test_the_limit_is_on_pixels_and_inclusive() -> None:
    content = saved(noise(100, 100), "PNG")
    assert decode(content, 10_000).size == (100, 100)
    with pytest.raises(PictureError, match=TOO_MANY_PIXELS):
        decode(content, 9_999)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_large_pictures_shrink_and_keep_their_shape(kind: str) -> None:
    assert decode(saved(noise(2000, 3000), kind), LIMIT).size == (341, SIDE)
    assert decode(saved(noise(1, 1), kind), LIMIT).size == (1, 1)


def test_every_colour_mode_becomes_the_same_rgb() -> None:
    red = Image.new("RGB", (4, 4), (255, 0, 0))
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    palette = red.quantize(4)
    transparent = Image.new("P", (4, 4), 0)
    transparent.putpalette([0, 0, 0, 255, 0, 0])
    grey16 = Image.fromarray(np.full((4, 4), 0x8000, np.uint16))
    cases = [
        (saved(red, "PNG"), (255, 0, 0)),
        (saved(palette, "PNG"), (255, 0, 0)),
        (saved(palette, "GIF"), (255, 0, 0)),
        (saved(red.convert("RGBA"), "PNG"), (255, 0, 0)),
        (saved(red.convert("CMYK"), "JPEG", quality=100), (255, 0, 0)),
        (saved(Image.new("L", (4, 4), 128), "JPEG"), (128, 128, 128)),
        (saved(Image.new("LA", (4, 4), (0, 0)), "PNG"), (255, 255, 255)),
        (saved(Image.new("1", (4, 4), 1), "PNG"), (255, 255, 255)),
        (saved(grey16, "PNG"), (128, 128, 128)),
        (saved(clear, "PNG"), (255, 255, 255)),
        (saved(transparent, "PNG", transparency=0), (255, 255, 255)),
    ]
    for content, colour in cases:
        picture = decode(content, LIMIT)
        assert picture.mode == "RGB"
        assert np.abs(np.asarray(picture).astype(int) - colour).max() <= 3


def test_pictures_are_turned_as_the_camera_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    assert decode(saved(noise(40, 80), "JPEG", exif=exif), LIMIT).size == (80, 40)


def slow_colour(lab: NDArray[np.float64], foreground: NDArray[np.float64]) -> NDArray[np.float64]:
    """The colour block pixel by pixel."""
    histogram = np.zeros((5, 5, 5))
    total = sum(float(w) + 1e-3 for w in foreground.ravel())
    for pixel, weight in zip(lab.reshape(-1, 3), foreground.ravel(), strict=True):
        shares = []
        for value, (low, high) in zip(pixel, ((0, 100), (-48, 48), (-48, 48)), strict=True):
            position = min(max((value - low) / (high - low), 0), 1) * 4
            left = min(int(position), 3)
            shares.append({left: 1 - (position - left), left + 1: position - left})
        for i, a in shares[0].items():
            for j, b in shares[1].items():
                for k, c in shares[2].items():
                    histogram[i, j, k] += (weight + 1e-3) / total * a * b * c
    return np.sqrt(histogram).ravel()


def test_the_descriptor_is_what_its_description_says() -> None:
    picture = Image.new("RGB", (112, 168), "white")
    picture.paste(noise(60, 90), (26, 40))
    feature = load_encoder("descriptor").encode([picture])[0].astype(np.float64)
    shape, silhouette, colour = np.split(feature, [486, 582])
    assert [float(np.linalg.norm(block)) for block in (shape, silhouette, colour)] == pytest.approx([1.0, 0.5, 0.7])

    lab = rgb2lab(np.asarray(picture.resize((24, 36), Image.Resampling.BOX)))
    foreground = 1 - np.exp(-((np.linalg.norm(lab - [100, 0, 0], axis=2) / 15) ** 2))
    np.testing.assert_allclose(colour / 0.7, slow_colour(lab, foreground), atol=1e-3)
    cells = [foreground[r : r + 3, c : c + 3].mean() for r in range(0, 36, 3) for c in range(0, 24, 3)]
    np.testing.assert_allclose(silhouette / 0.5, cells / np.linalg.norm(cells), atol=1e-3)
    grey = np.asarray(picture.convert("L").resize((48, 72), Image.Resampling.BOX)) / 255
    by_cell = hog(grey, 9, (8, 8), (1, 1), block_norm="L2")
    assert shape @ by_cell / np.linalg.norm(by_cell) > 0.99  # but for nearly flat cells each cell has length 1


def test_a_feature_does_not_depend_on_the_batch() -> None:
    encoder = load_encoder("descriptor")
    pictures = [noise(112, 168, seed) for seed in range(5)] + [noise(3, 7), Image.new("RGB", (1, 1), "white")]
    together = encoder.encode(pictures)
    assert together.shape == (7, encoder.dim)
    assert together.dtype == np.float32
    assert np.isfinite(together).all()
    assert (together >= 0).all()
    assert together.any(axis=1).all()
    np.testing.assert_array_equal(together, np.vstack([encoder.encode([picture]) for picture in pictures]))


def test_similar_pictures_have_similar_features() -> None:
    def shirt(colour: str, shift: int = 0) -> Image.Image:
        picture = Image.new("RGB", (112, 168), "white")
        picture.paste(Image.new("RGB", (50, 80), colour), (30 + shift, 50))
        return picture

    features = load_encoder("descriptor").encode([shirt("navy"), shirt("navy", 2), shirt("yellow"), noise(112, 168)])
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    same, other_colour, other_shape = unit[1:] @ unit[0]
    assert same > other_colour > other_shape


def test_real_pictures_of_one_kind_are_nearest_to_each_other(data: Path) -> None:
    """Far better than chance at finding the article type of a picture's nearest neighbour (largest class 15 %)."""
    with (data / "fashion" / "styles.csv").open() as file:
        rows = list(csv.DictReader(file))[::10]
    pictures = [decode((data / "fashion" / "images" / f"{row['id']}.jpg").read_bytes(), LIMIT) for row in rows]
    features = load_encoder("descriptor").encode(pictures)
    kinds = np.array([row["articleType"] for row in rows])
    scores = features @ features.T
    np.fill_diagonal(scores, -1)
    assert (kinds[scores.argmax(axis=1)] == kinds).mean() > 0.5


def test_descriptor_facts() -> None:
    found = facts(load_encoder("descriptor"))
    assert (found["encoder"], found["weights_sha256"], found["dim"]) == ("descriptor", "", 707)
    assert str(found["version"]).startswith("1 (scikit-image ")
    assert found["transform"]
