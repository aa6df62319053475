"""Any classifier as the subject of the detector methods: its classes stand in the place of detections."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lungct.explain.base import Subject
from lungct.explain.geometry import Geometry
from lungct.explain.scorers import Scores
from lungct.types import BoolArray, Detections, FloatArray, IntArray


class SmallClassifier(nn.Module):
    """Two convolutions at full resolution, so that every way of upsampling agrees, and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(6 * 4, 4)

    def rest(self, activations: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, 4) probabilities."""
        return (4 * self.head(F.adaptive_max_pool2d(activations, 2).flatten(1))).softmax(-1)

    def forward(self, images: Tensor) -> Tensor:
        return self.rest(self.features(images))


@dataclasses.dataclass
class ClassScorer:
    """What a classifier says of some of its classes."""

    network: Callable[[Tensor], Tensor]
    classes: Sequence[int]

    def __call__(self, batch: Tensor) -> Scores:
        with torch.inference_mode():
            score = self.network(batch)[:, list(self.classes)]
        return Scores(score, torch.zeros_like(score, dtype=torch.bool))


@dataclasses.dataclass
class ClassHead:
    """The rest of a classifier after a layer."""

    rest: Callable[[Tensor], Tensor]
    classes: Sequence[int]

    def __call__(self, level: int, activations: Tensor, which: IntArray) -> Tensor:
        return self.rest(activations)[:, [self.classes[one] for one in which]]

    def cells(self, level: int, number: int, shape_hw: tuple[int, int], *, near: bool = False) -> BoolArray:
        return np.ones(shape_hw, dtype=bool)


@dataclasses.dataclass(frozen=True)
class StretchedGeometry(Geometry):
    """pytorch-grad-cam's way of making masks: the corners of the map on the corners of the image."""

    def matrices_to_input(self, map_hw: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
        rows, columns = (
            F.interpolate(torch.eye(cells)[None], size=pixels, mode="linear", align_corners=True)[0].T.numpy()
            for cells, pixels in zip(map_hw, self.input_yx, strict=True)
        )
        return rows, columns


def subject_of(
    network: Callable[[Tensor], Tensor],
    features: Callable[[Tensor], Tensor],
    rest: Callable[[Tensor], Tensor],
    image: Tensor,
    classes: Sequence[int],
) -> Subject:
    """A classifier opened after ``features``, at some classes; boxes are in the middle of the image."""
    shape = (image.shape[1], image.shape[2])
    with torch.no_grad():
        activations = features(image[None])[0]
    box = np.array([shape[1] / 4, shape[0] / 4, 3 * shape[1] / 4, 3 * shape[0] / 4], np.float32)
    count = len(classes)
    detections = Detections("x", np.tile(box, (count, 1)), np.ones(count, np.float32), np.ones(count, np.int64))
    return Subject(
        (1500 * image.numpy() - 1000).astype(np.int16),
        image,
        detections,
        np.zeros(count, np.int64),
        {0: activations},
        StretchedGeometry(shape, shape, shape, shape),
        ClassScorer(network, classes),
        head=ClassHead(rest, classes),
        spacing_mm_yx=(0.7, 0.7),
    )
