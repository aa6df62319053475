"""One PASCAL-VOC XML file -> the boxes of one image, their labels, and the image's size as it states it.

What a corner means differs between tools, half a pixel to one pixel, which matters for boxes of six pixels: ``centres``
are 0-based pixel-centre coordinates, so the box's edges are xmin + .5 and xmax + .5; ``inclusive`` is the VOC
development kit's own 1-based inclusive pixels, edges xmin - 1 and xmax; ``edges`` are taken as they are.

Source: Everingham et al., The PASCAL Visual Object Classes (VOC) Challenge, IJCV 88, 2010.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lungct.errors import InputError
from lungct.types import FloatArray

EDGE_SHIFT_PX = {"centres": (0.5, 0.5), "inclusive": (-1.0, 0.0), "edges": (0.0, 0.0)}


@dataclass(frozen=True, eq=False)
class VocNote:
    """What one file says.

    Attributes:
        boxes_xyxy_px: (N, 4) pixel edges.
        labels: name of each object, ``nodule`` where it has none.
        size_xy: of the image; None where it is not stated, or as zero.
    """

    boxes_xyxy_px: FloatArray
    labels: tuple[str, ...]
    size_xy: tuple[int, int] | None


def read_voc(path: Path, corners: str) -> VocNote:
    """Read one file; ``corners`` is one of ``lungct.registry.VOC_CORNERS``.

    Raises:
        InputError: broken XML, a corner or a size that is no number, a box without area.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as problem:
        raise InputError.of(path, f"not readable as XML ({problem})") from None
    boxes, labels = [], []
    for found in root.iter("object"):
        boxes.append(_box(path, found, corners))
        labels.append((found.findtext("name") or "").strip() or "nodule")
    return VocNote(np.asarray(boxes, dtype=np.float64).reshape(-1, 4), tuple(labels), _size(path, root))


def _box(path: Path, found: ElementTree.Element, corners: str) -> FloatArray:
    texts = [found.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
    low, high = EDGE_SHIFT_PX[corners]
    try:
        box: FloatArray = np.array([float(text or "") for text in texts]) + np.array([low, low, high, high])
    except ValueError:
        raise InputError.of(path, f"bndbox is {texts}, expected numbers xmin, ymin, xmax, ymax") from None
    if not np.isfinite(box).all() or box[0] >= box[2] or box[1] >= box[3]:
        raise InputError.of(path, f"bndbox {texts} has no area", "expected xmin < xmax and ymin < ymax")
    return box


def _size(path: Path, root: ElementTree.Element) -> tuple[int, int] | None:
    texts = [root.findtext(f"size/{key}") for key in ("width", "height")]
    try:
        width, height = (int(float(text or 0)) for text in texts)
    except (ValueError, OverflowError):
        raise InputError.of(path, f"size is {texts}, expected numbers width, height in pixels") from None
    return (width, height) if width > 0 and height > 0 else None
