"""COCO's ``segmentation`` (polygons or run lengths, plain or packed into a string) -> a mask.

Run lengths go down the columns, zeros first. Packed, each is a number in groups of five bits, lowest first, from
character 48 on, bit 6 set where another group follows, bit 5 of the last its sign; from the third on it is the
difference to the run two before.

Source: Lin 2014; the format's reference is ``maskApi.c`` of the COCO API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lungct.types import BoolArray


def mask_of(segmentation: Any, shape_yx: tuple[int, int]) -> BoolArray | None:
    """(Y, X) mask, None where the annotation has none.

    A pixel belongs to a polygon if its centre lies in it.

    Raises:
        ValueError: run lengths that do not fill the image, or a segmentation of neither kind.
    """
    if not segmentation:
        return None
    if isinstance(segmentation, Mapping):
        counts = segmentation["counts"]
        runs = unpacked(counts) if isinstance(counts, (str, bytes)) else [int(one) for one in counts]
        return _of_runs(runs, shape_yx)
    if isinstance(segmentation, Sequence) and all(isinstance(one, Sequence) for one in segmentation):
        return _of_polygons(segmentation, shape_yx)
    raise ValueError("segmentation is neither polygons nor run lengths")


def _of_runs(runs: Sequence[int], shape_yx: tuple[int, int]) -> BoolArray:
    if sum(runs) != shape_yx[0] * shape_yx[1] or min(runs, default=0) < 0:
        raise ValueError(f"run lengths of {sum(runs)} pixels, the image has {shape_yx[0] * shape_yx[1]}")
    values = np.arange(len(runs)) % 2 == 1
    mask: BoolArray = np.repeat(values, runs).reshape(shape_yx[::-1]).T
    return mask


def _of_polygons(polygons: Sequence[Sequence[float]], shape_yx: tuple[int, int]) -> BoolArray:
    from matplotlib.path import Path

    y, x = np.mgrid[: shape_yx[0], : shape_yx[1]] + 0.5
    centres = np.column_stack((x.ravel(), y.ravel()))
    mask = np.zeros(len(centres), dtype=bool)
    for one in polygons:
        corners = np.asarray(one, dtype=np.float64).reshape(-1, 2)
        mask |= Path(np.vstack((corners, corners[:1])), closed=True).contains_points(centres)
    return mask.reshape(shape_yx)


def unpacked(text: str | bytes) -> list[int]:
    """The run lengths that a string holds."""
    runs: list[int] = []
    value = shift = 0
    for letter in text.encode() if isinstance(text, str) else text:
        group = letter - 48
        value |= (group & 0x1F) << shift
        shift += 5
        if group & 0x20:
            continue
        if group & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs
