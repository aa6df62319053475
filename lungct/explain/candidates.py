"""D-RISE's score: how much some candidate box of a changed image is like the detection, in place and in classes.

    w = max_j IoU(L_t, L_j) cos(P_t, P_j) O_j

over every candidate j that the detector weighs, before thresholds and non-maximum suppression.

Source: Petsiuk 2021, arXiv:2006.03204, equations 2-5. P is the vector of class probabilities. Faster R-CNN's has the
background in it; to the independent probabilities of RetinaNet and FCOS the share 1 - max p is put in front as
background, for with one class alone the cosine would always be 1. O is FCOS's centre-ness; the other two have no
objectness of a candidate, and there O is left out, as in the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou
from torchvision.ops import boxes as box_ops

from lungct.explain.box_head import answers
from lungct.explain.network import Network
from lungct.explain.scorers import LOST_BELOW_IOU, Scores
from lungct.models.dense import dense_outputs


@dataclass(frozen=True, eq=False)
class Candidates:
    """``boxes`` (N, 4) in the detector's own pixels, class ``probabilities`` (N, K), and ``objectness`` (N,)."""

    boxes: Tensor
    probabilities: Tensor
    objectness: Tensor


@dataclass(frozen=True, eq=False)
class CandidateScorer:
    """The similarity of the best candidate to each detection.

    A detection counts as lost where no candidate overlaps it by IoU .5.

    Attributes:
        boxes: (D, 4) in the detector's own pixels.
        probabilities: (D, K) class vectors of the detections.
    """

    network: Network
    boxes: Tensor
    probabilities: Tensor

    def __call__(self, batch: Tensor) -> Scores:
        score = torch.zeros(len(batch), len(self.boxes), device=batch.device)
        overlap = torch.zeros_like(score)
        with torch.inference_mode(), self.network.autocast():
            for place, found in enumerate(candidates(self.network, self.network.prepare(batch))):
                if not len(found.boxes) or not len(self.boxes):
                    continue
                iou = box_iou(self.boxes, found.boxes).nan_to_num()
                alike = F.normalize(self.probabilities, dim=1) @ F.normalize(found.probabilities, dim=1).T
                overlap[place] = iou.amax(dim=1)
                score[place] = (iou * alike.float() * found.objectness).amax(dim=1)
        return Scores(score, overlap < LOST_BELOW_IOU)


def scorer_of(network: Network, images: ImageList, boxes: Tensor, classes: Tensor, given: Tensor) -> CandidateScorer:
    """The scorer of detections on the unchanged image.

    P_t is that of the candidate of largest IoU x probability of the label; of a box that is only ``given`` (D,) to be
    scored, it is 1 for its label.
    """
    found = candidates(network, images)[0]
    vectors = F.one_hot(classes, network.model.card.classes).float()
    if len(found.boxes) and len(boxes):
        best = (box_iou(boxes, found.boxes).nan_to_num() * found.probabilities.T[classes]).argmax(dim=1)
        vectors = torch.where(given[:, None], vectors, found.probabilities[best])
    return CandidateScorer(network, boxes, vectors)


def candidates(network: Network, images: ImageList) -> list[Candidates]:
    """Every box that the detector weighs on each image of a batch."""
    features = network.pyramid(images)
    return _of_proposals(network, images, features) if network.two_stage else _of_anchors(network, images, features)


def _of_proposals(network: Network, images: ImageList, features: Mapping[str, Tensor]) -> list[Candidates]:
    detector = network.detector
    proposals, _ = detector.rpn(images, features)
    heads = detector.roi_heads
    logits, deltas = answers(heads, features, proposals, images)
    boxes, probabilities = heads.box_coder.decode(deltas.float(), proposals), logits.float().softmax(-1)
    counts = [len(one) for one in proposals]
    found = []
    for of, p, size in zip(boxes.split(counts), probabilities.split(counts), images.image_sizes, strict=True):
        kinds = of.shape[1] - 1
        flat = box_ops.clip_boxes_to_image(of[:, 1:].flatten(0, 1), size)
        found.append(Candidates(flat, p.repeat_interleave(kinds, dim=0), flat.new_ones(len(flat))))
    return found


def _of_anchors(network: Network, images: ImageList, features: Mapping[str, Tensor]) -> list[Candidates]:
    detector = network.detector
    maps = list(features.values())
    anchors = detector.anchor_generator(images, maps)[0]
    boxes, p, centerness = dense_outputs(detector, maps, anchors)
    p = p[..., 1:]
    vectors = torch.cat((1 - p.amax(dim=-1, keepdim=True), p), dim=-1)
    objectness = torch.ones_like(p[..., 0]) if centerness is None else centerness[..., 0]
    return [
        Candidates(box_ops.clip_boxes_to_image(of, size), *rest)
        for of, size, *rest in zip(boxes, images.image_sizes, vectors, objectness, strict=True)
    ]
