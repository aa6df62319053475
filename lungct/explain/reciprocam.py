"""Recipro-CAM: what each cell of the level gives to the target by itself, with all other cells zero.

    map(i, j) = y(A . M_ij) - y(0),   M_ij is 1 at cell (i, j) and 0 elsewhere

Only cells that the detection's place can see need a pass: the window that RoIAlign reads, or the head's field of view;
the others give y(0), a map of 0. The passes of cells are shared by the detections that see them.

Source: Byun & Lee 2022, arXiv:2209.14074, equation 2, without the Gaussian around a cell; the constant y(0), which
their min-max takes away, is subtracted here so that the raw map has a zero.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from lungct.explain.base import Cost, Costing, Explanation, Method, MethodOptions, Subject, head_of
from lungct.explain.batches import in_batches, paying_heads
from lungct.types import BoolArray, FloatArray


@torch.no_grad()
def reciprocam(subject: Subject, options: MethodOptions) -> Explanation:
    """One signed map per detection."""
    raw: list[FloatArray] = [np.empty(0)] * len(subject.detections)
    passes = 0
    for level, mine in subject.by_level():
        activations = subject.activations[level]
        seen = [cells_of(subject, level, number, activations, options) for number in mine.tolist()]
        found, count = alone(subject, level, activations, seen, options.batch)
        for place, number in enumerate(mine.tolist()):
            raw[number] = (found[place] * seen[place]).astype(np.float32)
        passes += count
    return Explanation(raw, subject.layers, record={"head_passes": passes})


def cells_of(subject: Subject, level: int, number: int, activations: Tensor, options: MethodOptions) -> BoolArray:
    """(h, w) the cells that a detection's target depends on."""
    shape = (activations.shape[1], activations.shape[2])
    return head_of(subject).cells(level, number, shape, near=options.approximate == "window")


def alone(
    subject: Subject, level: int, activations: Tensor, seen: list[BoolArray], batch: int
) -> tuple[FloatArray, int]:
    """(n, h, w) float64 rise over y(0) of the level's detections, each cell by itself, and the number of passes."""
    head, mine = head_of(subject), np.flatnonzero(subject.levels == level)
    base = head(level, torch.zeros_like(activations)[None], mine)[0].double().cpu().numpy()
    cells = np.argwhere(np.any(seen, axis=0))
    rise = np.zeros((len(mine), *activations.shape[1:]))

    def single(part: range) -> FloatArray:
        changed = activations.new_zeros(len(part), *activations.shape)
        for place, (row, column) in enumerate(cells[part.start : part.stop].tolist()):
            changed[place, :, row, column] = activations[:, row, column]
        found: FloatArray = head(level, changed, mine).double().cpu().numpy()
        return found

    for part, found in in_batches(len(cells), batch or paying_heads(activations), single):
        rows, columns = cells[part.start : part.stop].T
        rise[:, rows, columns] = (found - base).T
    return rise, 1 + len(cells)


def _cost(subject: Subject, options: MethodOptions) -> Cost:
    count = 0
    for level, mine in subject.by_level():
        activations = subject.activations[level]
        seen = [cells_of(subject, level, number, activations, options) for number in mine.tolist()]
        count += 1 + int(np.any(seen, axis=0).sum())
    return Cost(heads=count)


METHODS: Mapping[str, Method] = {"reciprocam": reciprocam}
COSTS: Mapping[str, Costing] = {"reciprocam": _cost}
