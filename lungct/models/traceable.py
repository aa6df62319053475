"""A detector as one graph without branches, for exporters: from HU to boxes in stored pixels, for one size of slice.

torchvision's own post-processing asks how many boxes are left, which no exporter can follow. Here what it would drop
early gets a score below all others, cannot suppress anything, and is dropped at the end: the answer is the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import nms, roi_align
from torchvision.ops.boxes import clip_boxes_to_image

from lungct.models.detector import LoadedModel

DROPPED = -1.0
LEAST_SIDE_PX = {"proposal": 1e-3, "detection": 1e-2}
"""torchvision's sides of boxes that are too small to keep, network pixels."""


class TraceableDetector(nn.Module):
    """``forward``: (C, Y, X) float32 HU of the chosen size to boxes (N, 4), scores (N,) and COCO categories (N,).

    Boxes are pixel edges of the stored slice, best first, with scores above ``threshold``.
    """

    mean: Tensor
    std: Tensor
    categories: Tensor

    def __init__(self, model: LoadedModel, size_yx: tuple[int, int], threshold: float) -> None:
        super().__init__()
        self.detector: Any = model.detector.eval()
        self.card, self.threshold = model.card, threshold
        self.network_yx = tuple(math.floor(side * self.card.magnify) for side in size_yx)
        stride = self.card.strides[-1]
        self.padded_yx = tuple(math.ceil(side / stride) * stride for side in self.network_yx)
        self.sizes_yx = [tuple(math.ceil(side / one) for side in self.padded_yx) for one in self.card.strides]
        self.stored_yx = size_yx
        self.register_buffer("mean", torch.tensor(self.card.input_mean)[:, None, None])
        self.register_buffer("std", torch.tensor(self.card.input_std)[:, None, None])
        self.register_buffer("categories", torch.tensor([0, *self.card.category_ids]))
        for level, anchors in enumerate(self._anchors()):
            self.register_buffer(f"anchors_{level}", anchors.clone())  # views of one storage are not saved well

    def _anchors(self) -> Sequence[Tensor]:
        """(places, 4) of each level."""
        generator = getattr(self.detector, "anchor_generator", None) or self.detector.rpn.anchor_generator
        maps = [torch.zeros(1, 1, *size) for size in self.sizes_yx]
        images = ImageList(torch.zeros(1, 3, *self.padded_yx), [(self.network_yx[0], self.network_yx[1])])
        per_place = generator.num_anchors_per_location()
        counts = [size[0] * size[1] * each for size, each in zip(self.sizes_yx, per_place, strict=True)]
        found: Sequence[Tensor] = generator(images, maps)[0].split(counts)
        return found

    def forward(self, image_hu: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        maps = list(self.detector.backbone(self._input(image_hu)[None]).values())
        if hasattr(self.detector, "roi_heads"):
            boxes, scores, labels = self._second_stage(maps, *self._proposals(maps))
        else:
            boxes, scores, labels = self._dense(maps)
        stored = clip_boxes_to_image(boxes / self.card.magnify, self.stored_yx)
        return stored, scores, self.categories[labels]

    def _input(self, image_hu: Tensor) -> Tensor:
        low, high = self.card.hu_window
        unit = ((image_hu - low) / (high - low)).clamp(0, 1)
        if self.card.magnify != 1:
            shrinks = self.card.magnify < 1
            unit = F.interpolate(unit[None], scale_factor=self.card.magnify, mode="bilinear", antialias=shrinks)[0]
        right, below = self.padded_yx[1] - self.network_yx[1], self.padded_yx[0] - self.network_yx[0]
        return F.pad((unit - self.mean) / self.std, (0, right, 0, below))

    def _dense(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """RetinaNet and FCOS, level by level."""
        parts = [self._dense_level(one, getattr(self, f"anchors_{level}")) for level, one in enumerate(maps)]
        boxes, scores, labels = (torch.cat(one) for one in zip(*parts, strict=True))
        scores = torch.where(scores > self.threshold, scores, DROPPED)
        # RetinaNet may answer label 0; torchvision lets it suppress nothing of other labels.
        return self._best(boxes, scores, labels, labels > 0, self.detector.nms_thresh)

    def _dense_level(self, one: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        head = self.detector.head
        probability = head.classification_head([one])[0].float().sigmoid()
        answer = head.regression_head([one])
        if isinstance(answer, tuple):
            codes, centerness = answer[0][0].float(), answer[1][0].float()
            probability = (probability * centerness.sigmoid()).sqrt()
            decode = self.detector.box_coder.decode
        else:
            codes, decode = answer[0].float(), self.detector.box_coder.decode_single
        classes = probability.shape[-1]
        flat = probability.flatten()
        scores, place = flat.topk(min(self.detector.topk_candidates, flat.shape[0]))
        index = place // classes
        boxes = clip_boxes_to_image(decode(codes[index], anchors[index]), self.network_yx)
        return boxes, scores, place % classes

    def _proposals(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """(P, 4) boxes, filled up to always the same number P, and (P,) which of them are proposals."""
        rpn = self.detector.rpn
        logits, deltas = rpn.head(list(maps))
        parts = []
        for level, (logit, delta) in enumerate(zip(logits, deltas, strict=True)):
            anchors = getattr(self, f"anchors_{level}")
            flat = logit[0].permute(1, 2, 0).flatten()
            codes = delta[0].unflatten(0, (-1, 4)).permute(2, 3, 0, 1).reshape(-1, 4)
            score, index = flat.topk(min(rpn.pre_nms_top_n(), flat.shape[0]))
            boxes = rpn.box_coder.decode_single(codes[index], anchors[index])
            parts.append((clip_boxes_to_image(boxes, self.network_yx), score.sigmoid(), torch.full_like(index, level)))
        boxes, scores, levels = (torch.cat(one) for one in zip(*parts, strict=True))
        scores = torch.where(_large(boxes, "proposal"), scores, DROPPED)
        most = rpn.post_nms_top_n()
        keep = nms(_apart(boxes, levels), scores, rpn.nms_thresh)
        # As many fillers as proposals are wanted stand behind, so that there always are so many.
        keep = torch.cat((keep, torch.full((most,), -1, dtype=keep.dtype)))[:most]
        real = keep >= 0
        keep = keep.clamp(min=0)
        return boxes[keep], real & (scores[keep] > DROPPED)

    def _second_stage(self, maps: Sequence[Tensor], proposals: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        heads = self.detector.roi_heads
        logits, deltas = heads.box_predictor(heads.box_head(self._pooled(maps, proposals)))
        scores = logits.softmax(-1)
        count, classes = scores.shape
        boxes = clip_boxes_to_image(heads.box_coder.decode(deltas, [proposals]), self.network_yx)
        labels = torch.arange(classes).expand(count, classes)[:, 1:].reshape(-1)
        boxes, scores = boxes[:, 1:].reshape(-1, 4), scores[:, 1:].reshape(-1)
        wanted = (scores > self.threshold) & _large(boxes, "detection") & real.repeat_interleave(classes - 1)
        scores = torch.where(wanted, scores, DROPPED)
        return self._best(boxes, scores, labels, labels > 0, heads.nms_thresh)

    def _pooled(self, maps: Sequence[Tensor], proposals: Tensor) -> Tensor:
        """(P, C, size, size), each proposal from the level of its size.

        Source: Lin 2017, equation 1, as torchvision's LevelMapper has it.
        """
        pool = self.detector.roi_heads.box_roi_pool
        lowest, highest = (round(math.log2(one)) for one in (self.card.strides[0], self.card.strides[-1]))
        sides = ((proposals[:, 2:] - proposals[:, :2]).clamp(min=0).prod(1)).sqrt()
        wanted = torch.floor(pool.canonical_level + torch.log2(sides / pool.canonical_scale) + 1e-6)
        levels = wanted.clamp(lowest, highest) - lowest
        whole = torch.zeros(())
        for level, (one, stride) in enumerate(zip(maps, self.card.strides, strict=True)):
            rois = torch.cat((torch.zeros_like(proposals[:, :1]), proposals), 1)
            part = roi_align(one, rois, pool.output_size, 1 / stride, pool.sampling_ratio)
            whole = whole + torch.where((levels == level)[:, None, None, None], part, 0.0)
        return whole

    def _best(
        self, boxes: Tensor, scores: Tensor, labels: Tensor, sound: Tensor, iou: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        keep = nms(_apart(boxes, labels), scores, iou)
        keep = keep[scores[keep] > self.threshold][: self.card.max_detections]
        keep = keep[sound[keep] & _large(boxes[keep], "any")]
        return boxes[keep], scores[keep], labels[keep]


def _large(boxes: Tensor, what: str) -> Tensor:
    least = LEAST_SIDE_PX.get(what)
    sides = boxes[:, 2:] - boxes[:, :2]
    return (sides > 0).all(1) if least is None else (sides >= least).all(1)


def _apart(boxes: Tensor, kinds: Tensor) -> Tensor:
    """The boxes moved so that those of different kinds cannot overlap."""
    return boxes + (kinds.to(boxes) * (boxes.max() + 1))[:, None]
