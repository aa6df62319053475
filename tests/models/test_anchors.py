"""Anchor sizes on boxes whose clusters are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from lungct.models.anchors import anchor_recall, anchor_sizes, iou_of_extents, kmeans_extents


def test_known_clusters_are_found() -> None:
    random = np.random.default_rng(0)
    sides = np.concatenate([random.normal(mean, 0.3, 50) for mean in (6, 14, 40)])
    sizes = anchor_sizes(np.stack([sides, sides], 1), 3, per_level=1)
    assert [round(level[0]) for level in sizes] == [6, 14, 40]


def test_levels_share_sizes_with_the_next_coarser_one() -> None:
    sides = np.repeat([5.0, 8.0, 16.0, 24.0], 10)
    assert anchor_sizes(np.stack([sides, sides], 1), 3, per_level=2) == ((5.0, 8.0), (8.0, 16.0), (16.0, 24.0))


def test_iou_of_extents_by_hand() -> None:
    iou = iou_of_extents(np.array([[2.0, 4.0]]), np.array([[4.0, 2.0], [2.0, 4.0]]))
    assert iou.tolist() == [[pytest.approx(4 / 12), 1.0]]


def test_fewer_sizes_than_anchors_repeat_none() -> None:
    assert anchor_sizes(np.array([[10.0, 10.0]]), 3, per_level=1) == ((10.0,), (12.0,), (14.4,))


def test_the_order_of_the_boxes_does_not_matter() -> None:
    extents = np.random.default_rng(1).uniform(4, 40, (60, 2))
    assert np.array_equal(kmeans_extents(extents, 3), kmeans_extents(extents[::-1], 3))


@pytest.mark.parametrize("ratios", [(1.0,), (0.5, 2.0)])
def test_recall_is_that_of_torchvisions_own_anchors(ratios: tuple[float, ...]) -> None:
    random = np.random.default_rng(2)
    corners, extents = random.uniform(0, 100, (300, 2)), random.uniform(4, 50, (300, 2))
    boxes = np.concatenate([corners, corners + extents], 1)
    boxes[:60, 0::2] += 126 - boxes[:60, 0::2].mean(1, keepdims=True)  # beyond the last column of anchors
    sizes, strides = ((7.0, 9.0), (15.0, 19.0), (30.0, 45.0)), (4, 8, 16)
    images = ImageList(torch.zeros(1, 3, 112, 128), [(110, 128)])
    maps = [torch.zeros(1, 1, 112 // stride, 128 // stride) for stride in strides]
    anchors = AnchorGenerator(sizes, (ratios,) * 3)(images, maps)[0]
    reached = (box_iou(torch.from_numpy(boxes), anchors.double()).amax(1) >= 0.5).double().mean()
    found = anchor_recall(boxes, np.tile((128.0, 110.0), (300, 1)), sizes, strides, ratios)
    assert found == pytest.approx(float(reached))
    assert 0.2 < found < 0.95
