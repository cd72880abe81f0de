"""Images as their files have them: bytes in a row, or the name of a file; decoded only when a model is to read them."""

import hashlib
import io
import warnings
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from peftlab.errors import UserError, require
from peftlab.files import read_regular

# What Pillow decodes by itself: others would start programs (EPS) or are no pictures.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
LARGEST = 2**26  # pixels of an image: 8192 x 8192

Stored = Mapping[str, Any]  # `bytes` of a file, or the `path` of one, as `datasets.Image(decode=False)` keeps them


def stored(value: Any, what: str) -> dict[str, Any]:
    """Return an image as a row keeps it.

    Args:
        value: the path of a file, its bytes, a picture of Pillow, an array uint8 [H, W] or [H, W, 3], or what
            `datasets` keeps of an image, with its bytes.
        what: names it in messages.

    Raises:
        UserError: it is none of these.
    """
    if isinstance(value, str | PathLike):
        return {"bytes": None, "path": str(value)}
    if isinstance(value, Mapping):
        # A table that somebody sends names files of the machine that made it: none of them is opened.
        require(isinstance(value.get("bytes"), bytes), f"{what}: an image without its bytes")
        return {"bytes": value["bytes"], "path": None}
    if isinstance(value, np.ndarray):
        fits = value.dtype == np.uint8 and (value.ndim == 2 or (value.ndim == 3 and value.shape[2] == 3))
        require(fits, f"{what}: {value.dtype} {list(value.shape)}; allowed is uint8 [H, W] or [H, W, 3]")
        value = Image.fromarray(value)
    if isinstance(value, Image.Image):
        written = io.BytesIO()
        value.save(written, "PNG")
        value = written.getvalue()
    allowed = "the path of a file, its bytes, a picture of Pillow, an array"
    require(isinstance(value, bytes), f"{what}: {type(value).__name__} is no image; allowed are {allowed}")
    return {"bytes": value, "path": None}


def is_stored(value: Any) -> bool:
    """Return whether a row's value is an image."""
    return isinstance(value, Mapping) and value.keys() == {"bytes", "path"}


def image_bytes(image: Stored) -> bytes:
    """Return the content of an image's file.

    Raises:
        UserError: there is no such file.
    """
    found: bytes = image["bytes"] if image["bytes"] is not None else _read(Path(image["path"]))
    return found


def image_sha256(image: Stored) -> str:
    """Return the SHA-256 of the content of an image's file."""
    return hashlib.sha256(image_bytes(image)).hexdigest()


def decoded(image: Stored, mode: str) -> Image.Image:
    """Return an image in a mode of Pillow, as RGB or L; of several pictures in a file the first.

    Raises:
        UserError: it is no image, or larger than `LARGEST` pixels.
    """
    name = image["path"] or "image"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(image_bytes(image)), formats=FORMATS) as opened:
                pixels = opened.width * opened.height
                require(pixels <= LARGEST, f"{name}: {pixels:,} pixels; allowed are {LARGEST:,}")
                return opened.convert(mode)
    except UnidentifiedImageError:
        raise UserError(f"{name}: not an image; allowed are {', '.join(FORMATS)}") from None
    except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError) as error:
        raise UserError(f"{name}: cannot be decoded ({error})") from error


def _read(path: Path) -> bytes:
    require(path.is_file(), f"{path}: no such file")
    return read_regular(path)
