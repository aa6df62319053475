"""The flaws that the two area rules were published with: only the image's first box counts, and a truncated count."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lungct.game.target import Target


def first_box(target: Target) -> Target:
    """The target turned to the image's first box, whichever nodule the detection found."""
    first = target.boxes_xyxy_px[0]
    return target if np.array_equal(first, target.box_xyxy_px) else replace(target, box_xyxy_px=first)


def published_count(target: Target, margin: float) -> int:
    """floor(w h (1 + margin)) of the box, at least 1 and at most n."""
    x1, y1, x2, y2 = (float(value) for value in target.box_xyxy_px)
    return min(target.pixels, max(1, int((x2 - x1) * (y2 - y1) * (1 + margin))))
