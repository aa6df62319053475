"""Deletion and insertion: the detection's score while its map's hottest pixels are taken away, or put in.

    deletion   mean of the score over the curve from the image to the image without its a hottest pixels
    insertion  the same from the blurred image to it with its a hottest pixels sharp
    insertion-deletion  their difference: 1 at best, 0 for a map that says nothing

a is the area of the detection's box; a step takes a / 100 pixels, at least one, so that curves of nodules of all sizes
cover the same share of a nodule. A deleted pixel becomes aerated lung; the blur is a Gaussian as wide as the box. The
mean is the area under the curve by the trapezoidal rule, over 0..1.

Source: Petsiuk 2018 (RISE) for the curves; Zhao & Chan 2023 (ODAM) for the steps, of a share of the object's area.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from lungct.explain.baselines import blurred
from lungct.game.faithfulness.base import Case
from lungct.types import FloatArray


def curves(case: Case) -> Mapping[str, float]:
    """Both curves, which are also kept in ``case.curves``."""
    counts = counts_of(case.area_px, case.settings.steps)
    lung = torch.full_like(case.subject.image, case.subject.lung_value)
    ends = {"deletion": (case.subject.image, lung), "insertion": (smoothed(case), case.subject.image)}
    found = {}
    for name, (start, end) in ends.items():
        scores = case.scores(_changed(case, counts, start, end))
        case.curves[name] = np.column_stack((counts / counts[-1], scores))
        found[name] = float(np.trapezoid(scores, counts / counts[-1]))
    return {**found, "insertion-deletion": found["insertion"] - found["deletion"]}


def counts_of(area_px: int, steps: int) -> FloatArray:
    """How many pixels are changed at each point of the curve: 0, a / steps, ..., a, whole numbers, each once."""
    return np.unique(np.round(np.linspace(0, area_px, min(steps, area_px) + 1)))


def _changed(case: Case, counts: FloatArray, start: Tensor, end: Tensor) -> Iterator[Tensor]:
    rank = case.on_input(case.order)
    for count in counts:
        yield torch.where(rank < float(count), end, start)


def smoothed(case: Case) -> Tensor:
    """(C, H, W) the input without anything as small as the detection: a Gaussian with its longest side as sigma."""
    box = np.asarray(case.subject.detections.boxes_xyxy_px[case.number], dtype=np.float64)
    factor = case.subject.image.shape[-1] / case.heatmap.shape[1]
    sigma = max(float(box[2] - box[0]), float(box[3] - box[1]), 1.0) * factor
    return blurred(case.subject.image, sigma)


MEASURE = curves
