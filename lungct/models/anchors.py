"""Anchor sizes that fit the boxes of a training split (k-means with 1 - IoU), and the share of boxes they reach."""

from __future__ import annotations

import itertools

import numpy as np

from lungct.types import FloatArray

ITERATIONS = 100
SMALLEST_PX = 4.0
LEAST_RATIO = 1.2
REACHED_IOU = 0.5


def iou_of_extents(a_wh: FloatArray, b_wh: FloatArray) -> FloatArray:
    """(N, M) IoU of boxes of extents (N, 2) and (M, 2) px that share a centre."""
    inner = np.minimum(a_wh[:, None], b_wh[None]).prod(-1)
    union = a_wh.prod(-1)[:, None] + b_wh.prod(-1)[None] - inner
    iou: FloatArray = inner / union
    return iou


def kmeans_extents(extents_wh_px: FloatArray, count: int) -> FloatArray:
    """(count, 2) cluster medians of (N, 2) box extents px, by growing area.

    Starts from quantiles of the area, so the result depends on the boxes alone; an empty cluster keeps its centre.

    Source: Redmon & Farhadi 2017 (YOLO9000), section 2, d = 1 - IoU; medians in place of means, for sizes are skewed.
    """
    extents = np.asarray(extents_wh_px, dtype=np.float64)
    order = extents[np.argsort(extents.prod(1), kind="stable")]
    quantiles = (np.arange(count) + 0.5) / count
    centers = order[(quantiles * len(order)).astype(int)]
    for _ in range(ITERATIONS):
        nearest = iou_of_extents(extents, centers).argmax(1)
        moved = np.stack(
            [np.median(extents[nearest == k], 0) if (nearest == k).any() else centers[k] for k in range(count)]
        )
        if np.array_equal(moved, centers):
            break
        centers = moved
    return np.asarray(centers[np.argsort(centers.prod(1), kind="stable")])


def anchor_sizes(extents_wh_px: FloatArray, levels: int, per_level: int = 3) -> tuple[tuple[float, ...], ...]:
    """Square anchor sizes (network px) per pyramid level, finest first.

    Of ``levels + per_level - 1`` clusters by size, level i gets those from i to i + per_level - 1. So most sizes stand
    on a finer level too, whose denser grid meets a small box: a box hardly larger than the stride often lies between
    two anchors and overlaps neither by half.
    """
    centers = kmeans_extents(extents_wh_px, levels + per_level - 1)
    sides = np.sort(np.maximum(np.sqrt(centers.prod(1)), SMALLEST_PX))
    for i in range(1, len(sides)):  # boxes of few sizes make equal clusters, and twice one anchor finds nothing more
        sides[i] = max(sides[i], sides[i - 1] * LEAST_RATIO)
    return tuple(tuple(round(float(side), 1) for side in sides[i : i + per_level]) for i in range(levels))


def anchor_recall(
    boxes_xyxy_px: FloatArray,
    image_wh_px: FloatArray,
    sizes_px: tuple[tuple[float, ...], ...],
    strides: tuple[int, ...],
    aspect_ratios: tuple[float, ...] = (1.0,),
) -> float:
    """Share of boxes that some anchor of their image overlaps by IoU .5 or more; the others teach by a poor match.

    Looks at whole slices; random crops and scales move the grid under the boxes, so it is an estimate for those.

    Args:
        boxes_xyxy_px: (N, 4) in network pixels, N at least 1.
        image_wh_px: (N, 2) extents of each box's image, network pixels.

    Source: the grid and the rounded half extents of torchvision's AnchorGenerator; of a level's anchors of one size
    the one whose centre is nearest to the box's overlaps it most.
    """
    boxes, images = np.asarray(boxes_xyxy_px, np.float64), np.asarray(image_wh_px, np.float64)
    centers, extents = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    best = np.zeros(len(boxes))
    padded = np.ceil(images / strides[-1]) * strides[-1]
    for stride, sides in zip(strides, sizes_px, strict=True):
        nearest = np.clip(np.round(centers / stride), 0, np.ceil(padded / stride) - 1) * stride
        for side, ratio in itertools.product(sides, aspect_ratios):
            anchor = 2 * np.round(np.array([side / ratio**0.5, side * ratio**0.5]) / 2)
            low = np.maximum(centers - extents / 2, nearest - anchor / 2)
            high = np.minimum(centers + extents / 2, nearest + anchor / 2)
            inner = (high - low).clip(0).prod(1)
            best = np.maximum(best, inner / (extents.prod(1) + anchor.prod() - inner))
    return float((best >= REACHED_IOU).mean())
