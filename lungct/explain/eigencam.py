"""EigenCAM: what the activations of the detection's pyramid level have most in common.

    O = U S V^T over the (h w) x C activations, L = O v1

It asks no class and no score: two detections read from one level share the map up to its sign, and what sets them apart
is the level they come from and the orientation below. It says where the network's features are strong, not why it
decided.

Source: Muhammad & Yeasin 2020, arXiv:2008.00299. The sign of v1 is arbitrary; here the map points up inside the
*predicted* box (never the true one). No ReLU, since after orientation both ends of the component mean something.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.linalg import eigh

from lungct.explain.base import Explanation, Method, MethodOptions, Subject
from lungct.types import FloatArray


def eigencam(subject: Subject, options: MethodOptions) -> Explanation:
    """One oriented principal map per detection, at the resolution of its level."""
    principal = {
        level: first_component(subject.activations[level].float().cpu().numpy(), centred=options.centred)
        for level in sorted(set(subject.levels.tolist()))
    }
    raw, signs = [], []
    for level, box in zip(subject.levels.tolist(), subject.detections.boxes_xyxy_px, strict=True):
        sign = -1 if box_contrast(subject.geometry.to_slice(principal[level]), box) < 0 else 1
        raw.append(sign * principal[level])
        signs.append(sign)
    record = {"class_agnostic": True, "sign": signs, "centred": options.centred}
    return Explanation(raw, subject.layers, record=record)


def first_component(activations: FloatArray, *, centred: bool = False) -> FloatArray:
    """(h, w) float32 projection O v1 of (C, h, w) activations on their first right singular vector.

    v1 is the leading eigenvector of the Gram matrix O^T O; where there are fewer cells than channels, O v1 = s1 u1
    comes from the smaller O O^T. Exact up to rounding in float64, unlike low-rank and power iterations, which fail
    where the spectrum has no gap. Its largest entry is positive, so that the same input gives the same map.
    """
    channels, height, width = activations.shape
    cells = activations.reshape(channels, -1).T.astype(np.float64)
    if centred:
        cells -= cells.mean(axis=0)
    if not np.isfinite(cells).all():
        return np.full((height, width), np.nan, dtype=np.float32)
    if channels <= len(cells):
        projection = cells @ _leading(cells.T @ cells)[1]
    else:
        value, vector = _leading(cells @ cells.T)
        projection = vector * np.sqrt(max(value, 0.0))
    if projection[np.argmax(np.abs(projection))] < 0:
        projection = -projection
    component: FloatArray = projection.reshape(height, width).astype(np.float32)
    return component


def _leading(gram: FloatArray) -> tuple[float, FloatArray]:
    last = len(gram) - 1
    values, vectors = eigh(gram, subset_by_index=(last, last))
    return float(values[0]), vectors[:, 0]


def box_contrast(values: FloatArray, box_xyxy_px: FloatArray) -> float:
    """Mean of a (Y, X) map inside a box minus its mean outside; a box keeps at least one pixel."""
    height, width = values.shape
    x1, y1 = np.clip(np.floor(box_xyxy_px[:2]), 0, (width - 1, height - 1)).astype(int)
    x2, y2 = np.ceil(box_xyxy_px[2:]).astype(int)
    inside = np.zeros(values.shape, dtype=bool)
    inside[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)] = True
    return float(values[inside].mean() - values[~inside].mean()) if not inside.all() else float(values.mean())


METHODS: Mapping[str, Method] = {"eigencam": eigencam}
