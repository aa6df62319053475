"""8-bit gray images to PNG, the same bytes for the same pixels."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

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
