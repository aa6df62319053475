"""Gray images <-> PNG; written in 8 bits, the same bytes for the same pixels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lungct.errors import InputError
from lungct.io import atomic

COMPRESSION = 4
"""zlib's level: a CT slice takes three fifths of the time of the default, at its size."""


def write_gray(path: Path, gray: NDArray[np.uint8], description: str) -> None:
    """Write (Y, X) 8-bit gray, for a file inside a staged folder; ``description`` is kept in the PNG as text."""
    text = PngInfo()
    text.add_text("Description", description)
    stream = io.BytesIO()
    Image.fromarray(gray).save(stream, "PNG", compress_level=COMPRESSION, pnginfo=text)
    atomic.write_bytes(path, stream.getvalue(), durable=False)


def read_gray(path: Path) -> NDArray[np.integer[Any]]:
    """Read the (Y, X) gray levels of a PNG of 8 or 16 bits.

    Raises:
        InputError: missing, no picture, or one in colour.
    """
    try:
        with Image.open(path) as picture:
            if picture.mode not in ("1", "L", "I", "I;16", "I;16B"):
                raise InputError.of(path, f"a picture of mode {picture.mode}, expected gray levels of 8 or 16 bits")
            return np.asarray(picture if picture.mode != "1" else picture.convert("L"))
    except FileNotFoundError:
        raise InputError.of(path, "no such file") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
        raise InputError.of(path, f"not readable as a picture ({problem})") from None
