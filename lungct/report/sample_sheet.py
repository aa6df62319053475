"""Training samples, many small images with their boxes, on one sheet."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lungct.io import atomic
from lungct.report.panel import DETECTION, View, outline, paint, text
from lungct.types import FloatArray

SIDE_PX = 300
GAP_PX = 6
TITLE_PX = 34
PAPER = (24, 24, 24)


def write_sample_sheet(
    path: Path,
    images: Sequence[NDArray[np.float32]],
    boxes_xyxy_px: Sequence[FloatArray],
    captions: Sequence[str],
    *,
    title: str,
    columns: int,
    overwrite: bool,
) -> None:
    """Write a PNG of images in rows, each as large as fits its square, boxes drawn outside of what they hold.

    Args:
        images: (Y, X) each, in 0..1.
        boxes_xyxy_px: (N, 4) for each image.
        captions: for each image.

    Raises:
        OutputExists: see :func:`lungct.io.atomic.check_file_replaceable`.
    """
    atomic.check_file_replaceable(path, overwrite=overwrite, starts=b"\x89PNG")
    rows, step = -(-len(images) // columns), SIDE_PX + GAP_PX
    sheet = Image.new("RGB", (columns * step + GAP_PX, rows * step + TITLE_PX), PAPER)
    text(ImageDraw.Draw(sheet), (GAP_PX, TITLE_PX / 2), title, anchor="lm")
    for number, (image, boxes, caption) in enumerate(zip(images, boxes_xyxy_px, captions, strict=True)):
        height, width = image.shape
        scale = SIDE_PX / max(height, width)
        view = View((0.0, 0.0, width, height), (max(1, round(width * scale)), max(1, round(height * scale))))
        panel = paint(image, None, view, window_hu=(0.0, 1.0))
        for box in boxes:
            outline(panel, view, box.tolist(), DETECTION, dashed=False)
        text(ImageDraw.Draw(panel), (6, 4), caption, size=13)
        sheet.paste(panel, (GAP_PX + number % columns * step, TITLE_PX + number // columns * step))
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    atomic.write_bytes(path, stream.getvalue())
