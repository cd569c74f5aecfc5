"""From the bytes of a file that somebody else made to a small RGB picture, or the reason why not."""

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_BYTES = 32 << 20  # of a file; no picture of a product is larger
SIDE = 512  # pictures are shrunk to this many pixels on the longer side: no encoder looks at more
# Formats of product pictures whose decoders are part of Pillow; others start programs (EPS) or are rare and risky.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")

EMPTY, NOT_A_PICTURE, UNREADABLE, TOO_MANY_PIXELS = (
    "empty file",
    "not a picture",
    "unreadable picture",
    "too many pixels",
)


class PictureError(Exception):
    """A file that cannot be used; ``reason`` is one of a fixed list, ``detail`` says more."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def decode(content: bytes, max_pixels: int) -> Image.Image:
    """The picture as RGB, upright, at most SIDE pixels on its longer side, transparent parts white.

    The size is taken from the header before anything is decoded. Raises PictureError.
    """
    if not content:
        raise PictureError(EMPTY)
    picture = _open(content, max_pixels)
    try:
        picture.draft(None, (SIDE, SIDE))  # lets the JPEG decoder itself shrink
        picture = _in_plain_mode(picture)
        picture.thumbnail((SIDE, SIDE))
        picture = ImageOps.exif_transpose(picture) if picture.getexif() else picture
        if picture.mode == "RGBA":
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        return picture.convert("RGB")
    except Exception as error:  # decoders meet hostile bytes with exceptions of any type
        raise PictureError(UNREADABLE, f"{type(error).__name__}: {error}") from None


def _open(content: bytes, max_pixels: int) -> Image.Image:
    """Read the header."""
    Image.MAX_IMAGE_PIXELS = max_pixels  # Pillow's own guard against decompression bombs, also inside its plugins
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(content), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError(TOO_MANY_PIXELS, str(error)) from None
    except UnidentifiedImageError:
        raise PictureError(NOT_A_PICTURE, f"begins with {content[:16]!r}") from None
    except Exception as error:
        raise PictureError(UNREADABLE, f"{type(error).__name__}: {error}") from None
    return picture


def _in_plain_mode(picture: Image.Image) -> Image.Image:
    """Decode to a mode that can be averaged over pixels without loss: RGBA where something is transparent."""
    picture.load()
    if picture.mode.startswith("I"):  # 16-bit grey: convert() would cut off everything above 255
        return Image.fromarray((np.asarray(picture).astype(np.uint32) >> 8).astype(np.uint8))
    if picture.mode in ("RGB", "L", "RGBA", "CMYK") and "transparency" not in picture.info:
        return picture
    return picture.convert("RGBA" if picture.has_transparency_data else "RGB")
