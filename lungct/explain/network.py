"""A trained detector opened at its feature pyramid: input, features, and the level each detection is read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import boxes as box_ops

from lungct.errors import InputError
from lungct.explain.geometry import Geometry
from lungct.models.dense import dense_answers
from lungct.models.detector import LoadedModel
from lungct.models.device import amp_dtype, autocast
from lungct.types import Detections, IntArray

SAME_BOX_PX = 0.01


def level_name(level: int) -> str:
    """How a pyramid level is called in the outputs."""
    return f"fpn.{level}"


@dataclass(frozen=True, eq=False)
class Network:
    """A detector for inference on perturbed images.

    Attributes:
        model: the detector and its card.
        amp: number format of the perturbed passes; activations are always read in float32.
    """

    model: LoadedModel
    amp: str = "off"

    @property
    def detector(self) -> Any:
        """torchvision's FasterRCNN, RetinaNet or FCOS; their parts have no types of their own."""
        return self.model.detector

    @property
    def two_stage(self) -> bool:
        """Whether scores come from a RoI head."""
        return hasattr(self.detector, "roi_heads")

    def autocast(self) -> Any:
        """The block that perturbed passes run in."""
        device = self.model.device
        return autocast(device, amp_dtype(self.amp, device))

    def prepare(self, batch: Tensor) -> ImageList:
        """(B, C, H, W) in 0..1 to the detector's own normalised, resized and padded batch."""
        images: ImageList = self.detector.transform(list(batch))[0]
        return images

    def pyramid(self, images: ImageList) -> Mapping[str, Tensor]:
        """Level name -> (B, C, h, w).

        The pyramid's output is taken where the detector's own heads take it, so no hook can be left behind.
        """
        features: Mapping[str, Tensor] = self.detector.backbone(images.tensors)
        return features

    def class_indices(self, labels: IntArray) -> Tensor:
        """(D,) COCO category ids to the columns of the detector's class scores.

        Raises:
            InputError: a category that the model does not know.
        """
        known = self.model.card.category_ids
        unknown = sorted(set(labels.tolist()) - set(known))
        if unknown:
            raise InputError(f"detections of category {unknown[0]}, the model knows {', '.join(map(str, known))}")
        return torch.tensor([known.index(label) + 1 for label in labels.tolist()], device=self.model.device)

    def geometry(self, slice_yx: tuple[int, int], image: Tensor, images: ImageList) -> Geometry:
        """How map cells and pixels of one prepared image relate."""
        rows, columns = images.image_sizes[0]
        padded = images.tensors.shape[-2:]
        return Geometry(slice_yx, (image.shape[-2], image.shape[-1]), (rows, columns), (padded[0], padded[1]))

    def boxes_on(self, geometry: Geometry, detections: Detections) -> Tensor:
        """(D, 4) float32 boxes in the detector's own pixels, on its device."""
        boxes = detections.boxes_xyxy_px * geometry.slice_to_network_xyxy
        return torch.from_numpy(np.asarray(boxes, dtype=np.float32)).to(self.model.device)

    def roi_levels(self, features: Mapping[str, Tensor], boxes: Tensor, images: ImageList) -> IntArray:
        """(D,) level that RoIAlign reads each box from: floor(4 + log2(sqrt(area) / 224)), within the levels there are.

        Source: Lin 2017, equation 1; torchvision's LevelMapper itself is asked.
        """
        pool = self.detector.roi_heads.box_roi_pool
        pool(features, [boxes], images.image_sizes)
        if len(pool.scales) == 1:
            return np.zeros(len(boxes), dtype=np.int64)
        levels: IntArray = pool.map_levels([boxes]).cpu().numpy()
        return levels

    def anchors_of(
        self, features: Mapping[str, Tensor], boxes: Tensor, classes: Tensor, images: ImageList
    ) -> tuple[IntArray, IntArray]:
        """(D,) level and (D,) place in it of the anchor that each box was decoded from (one-stage detectors).

        Every anchor is decoded again; the kept one is that whose box is nearest, and among equal boxes the best scored.
        """
        maps = list(features.values())
        anchors = self.detector.anchor_generator(images, maps)[0]
        decoded, scores = dense_answers(self.detector, maps, anchors)
        decoded = box_ops.clip_boxes_to_image(decoded[0], images.image_sizes[0])
        places = [
            _nearest(decoded, scores[0, :, label], box) for box, label in zip(boxes, classes.tolist(), strict=True)
        ]
        return _split_by_level(places, [one.shape[-2] * one.shape[-1] for one in maps], len(anchors))


def _nearest(decoded: Tensor, scores: Tensor, box: Tensor) -> int:
    distance = (decoded - box).abs().amax(dim=1)
    same = distance <= distance.min() + SAME_BOX_PX
    return int(torch.where(same, scores, scores.new_tensor(-1.0)).argmax())


def _split_by_level(places: Sequence[int], cells: Sequence[int], anchors: int) -> tuple[IntArray, IntArray]:
    per_cell = anchors // sum(cells)
    starts = np.cumsum([0, *cells[:-1]]) * per_cell
    level = np.searchsorted(starts, np.asarray(places, dtype=np.int64), side="right") - 1
    return level, np.asarray(places, dtype=np.int64) - starts[level]
