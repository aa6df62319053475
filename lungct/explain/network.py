"""A trained detector opened at its feature pyramid: input, levels, and the place that each detection comes from."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import boxes as box_ops

from lungct.errors import InputError
from lungct.explain.box_head import answers
from lungct.explain.geometry import Geometry
from lungct.models.dense import dense_answers
from lungct.models.detector import LoadedModel
from lungct.models.device import amp_dtype, autocast
from lungct.types import BoolArray, Detections, IntArray

SAME_BOX_PX = 0.01
MADE_IOU = 0.9


@dataclass(frozen=True, eq=False)
class Network:
    """A detector for inference on perturbed images.

    Attributes:
        model: the detector and its card.
        amp: number format of the perturbed passes; activations are always read in float32.

    Raises:
        InputError: the detector stands on no feature pyramid.
    """

    model: LoadedModel
    amp: str = "off"

    def __post_init__(self) -> None:
        if not hasattr(getattr(self.detector, "backbone", None), "fpn"):
            raise InputError(
                "the model has no feature pyramid (backbone.fpn), and a map is read at the level of its detection",
                "explain a detector of lungct train",
            )

    @property
    def detector(self) -> Any:
        """torchvision's FasterRCNN, RetinaNet or FCOS; their parts have no types of their own."""
        return self.model.detector

    @property
    def two_stage(self) -> bool:
        """Whether scores come from a RoI head."""
        return hasattr(self.detector, "roi_heads")

    def level_name(self, level: int) -> str:
        """How a level of the pyramid is called: P2 has stride 4, P3 stride 8, and so on.

        Source: Lin 2017 (FPN).
        """
        return f"P{int(math.log2(self.model.card.strides[level]))}"

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

    def laterals(self, images: ImageList) -> list[Tensor]:
        """Per level (B, C, h, w) what the trunk gives to it, before anything of the coarser levels is added."""
        backbone = self.detector.backbone
        taps = backbone.body(images.tensors).values()
        return [lateral(tap) for lateral, tap in zip(backbone.fpn.inner_blocks, taps, strict=True)]

    def merge(self, laterals: Sequence[Tensor]) -> Mapping[str, Tensor]:
        """The pyramid of its laterals, as torchvision's FeaturePyramidNetwork goes on from there."""
        blocks = self.detector.backbone.fpn.layer_blocks
        return OrderedDict((str(level), blocks[level](one)) for level, one in enumerate(_summed(laterals)))

    def pyramid_at(self, images: ImageList, seen: Mapping[int, Sequence[BoolArray]]) -> Mapping[str, Tensor]:
        """The pyramid where it is looked at: per level the cells that each detection sees; elsewhere it is zero.

        The last convolution of a level runs on windows around those cells, or on all of the level where the windows
        together are larger; a level that nobody looks at is empty. What is computed is what :meth:`pyramid` gives.
        """
        fpn = self.detector.backbone.fpn
        if fpn.extra_blocks is not None:
            return self.pyramid(images)
        levels: OrderedDict[str, Tensor] = OrderedDict()
        for level, inner in enumerate(_summed(self.laterals(images))):
            if level in seen:
                levels[str(level)] = _convolved_at(fpn.layer_blocks[level], inner, seen[level])
            else:
                levels[str(level)] = inner.new_empty(len(inner), 0, 0, 0)
        return levels

    def detect(self, batch: Tensor) -> list[dict[str, Tensor]]:
        """What the detector itself finds on (B, C, H, W) images in 0..1, boxes in their pixels."""
        found: list[dict[str, Tensor]]
        if not self.two_stage:
            found = self.detector(list(batch))
            return found
        images = self.prepare(batch)
        features, heads = self.pyramid(images), self.detector.roi_heads
        proposals = self.detector.rpn(images, features)[0]
        logits, deltas = answers(heads, features, proposals, images)
        kept = zip(*heads.postprocess_detections(logits, deltas, proposals, images.image_sizes), strict=True)
        outputs = [dict(zip(("boxes", "scores", "labels"), one, strict=True)) for one in kept]
        sizes = [(one.shape[-2], one.shape[-1]) for one in batch]
        found = self.detector.transform.postprocess(outputs, images.image_sizes, sizes)
        return found

    def class_indices(self, labels: IntArray) -> Tensor:
        """(D,) COCO category ids to the columns of the detector's class scores.

        Raises:
            InputError: a category that the model does not know.
        """
        known = self.model.card.category_ids
        unknown = sorted(set(labels.tolist()) - set(known))
        if unknown:
            raise InputError(f"detections of category {unknown[0]}, the model knows {', '.join(map(str, known))}")
        columns = [known.index(label) + 1 for label in labels.tolist()]
        return torch.tensor(columns, dtype=torch.int64, device=self.model.device)

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

    def proposals_of(
        self, features: Mapping[str, Tensor], boxes: Tensor, classes: Tensor, images: ImageList
    ) -> tuple[Tensor, Tensor]:
        """(D, 4) the proposal that each box was decoded from, and (D,) whether there is one (two-stage detectors).

        Every proposal is decoded again; the kept one is that whose box is nearest. Where that overlaps the box by less
        than IoU .9, the model did not make the box, and the box itself is taken as its proposal.
        """
        heads = self.detector.roi_heads
        proposals = self.detector.rpn(images, features)[0]
        _, deltas = answers(heads, features, proposals, images)
        decoded = heads.box_coder.decode(deltas.float(), proposals)
        decoded = box_ops.clip_boxes_to_image(decoded, images.image_sizes[0])
        chosen, made = boxes.clone(), torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
        for number, label in enumerate(classes.tolist() if len(decoded) else ()):
            nearest = int((decoded[:, label] - boxes[number]).abs().amax(dim=1).argmin())
            if box_ops.box_iou(boxes[number][None], decoded[nearest, label][None]) >= MADE_IOU:
                chosen[number], made[number] = proposals[0][nearest], True
        return chosen, made

    def anchors_of(
        self, features: Mapping[str, Tensor], boxes: Tensor, classes: Tensor, images: ImageList
    ) -> tuple[IntArray, IntArray, Tensor]:
        """(D,) level, (D,) place in it and (D, 4) the anchor that each box was decoded from (one-stage detectors).

        Every anchor is decoded again; the kept one is that whose box is nearest, and among equal boxes the best scored.
        """
        maps = list(features.values())
        anchors = self.detector.anchor_generator(images, maps)[0]
        decoded, scores = dense_answers(self.detector, maps, anchors)
        decoded = box_ops.clip_boxes_to_image(decoded[0], images.image_sizes[0])
        places = [
            nearest_box(decoded, scores[0, :, label], box) for box, label in zip(boxes, classes.tolist(), strict=True)
        ]
        levels, inside = _split_by_level(places, [one.shape[-2] * one.shape[-1] for one in maps], len(anchors))
        return levels, inside, anchors[places]


def _summed(laterals: Sequence[Tensor]) -> list[Tensor]:
    """Each lateral with the coarser levels added to it."""
    summed = [laterals[-1]]
    for lateral in reversed(laterals[:-1]):
        summed.insert(0, lateral + F.interpolate(summed[0], size=lateral.shape[-2:], mode="nearest"))
    return summed


def _convolved_at(block: Any, inner: Tensor, seen: Sequence[BoolArray]) -> Tensor:
    """A 3 x 3 convolution of (B, C, h, w) where some cells are seen; windows have a cell around them, cut off after."""
    height, width = inner.shape[-2:]
    spans = [[(int(one.min()), int(one.max()) + 1) for one in np.nonzero(cells)] for cells in seen if cells.any()]
    if sum((bottom - top + 2) * (right - left + 2) for (top, bottom), (left, right) in spans) >= height * width:
        whole: Tensor = block(inner)
        return whole
    out: Tensor | None = None
    for (top, bottom), (left, right) in spans:
        y, x = max(top - 1, 0), max(left - 1, 0)
        window = block(inner[:, :, y : bottom + 1, x : right + 1])
        if out is None:
            out = window.new_zeros(len(inner), window.shape[1], height, width)
        out[:, :, top:bottom, left:right] = window[:, :, top - y : bottom - y, left - x : right - x]
    return inner.new_zeros(inner.shape) if out is None else out


def nearest_box(found: Tensor, scores: Tensor, box: Tensor) -> int:
    """Place among (N, 4) boxes of that whose sides are nearest to a box, and of equal ones of the best scored."""
    distance = (found - box).abs().amax(dim=1)
    same = distance <= distance.min() + SAME_BOX_PX
    return int(torch.where(same, scores, scores.new_tensor(-1.0)).argmax())


def _split_by_level(places: Sequence[int], cells: Sequence[int], anchors: int) -> tuple[IntArray, IntArray]:
    per_cell = anchors // sum(cells)
    starts = np.cumsum([0, *cells[:-1]]) * per_cell
    level = np.searchsorted(starts, np.asarray(places, dtype=np.int64), side="right") - 1
    return level, np.asarray(places, dtype=np.int64) - starts[level]
