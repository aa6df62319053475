"""FCOS: one stage without anchors; each place of the pyramid says how far away the sides of its box are."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection import FCOS
from torchvision.models.detection._utils import BoxLinearCoder
from torchvision.models.detection.fcos import FCOSClassificationHead, FCOSHead, FCOSRegressionHead

from lungct.models.backbone import group_norm
from lungct.models.card import ModelCard
from lungct.models.losses import Losses
from lungct.models.normalise import normalise
from lungct.models.precision import Float32AnchorGenerator, answer_in_float32
from lungct.models.ranks import mean_count, world


class ChoosingHead(FCOSHead):  # type: ignore[misc]
    """torchvision's head with losses to choose, each per foreground place of the batch.

    Its group norms are of eight channels a group; torchvision's, of 32 groups, need wide pyramids.
    """

    def __init__(self, channels: int, classes: int, losses: Losses) -> None:
        nn.Module.__init__(self)
        self.box_coder = BoxLinearCoder(normalize_by_size=True)
        self.classification_head = FCOSClassificationHead(channels, 1, classes, norm_layer=group_norm)
        self.regression_head = FCOSRegressionHead(channels, 1, norm_layer=group_norm)
        self.losses = losses

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> dict[str, Tensor]:
        """Losses of class, box and centre-ness; ``matched_idxs`` holds the true box of each place, -1 for none."""
        matched = torch.stack(matched_idxs)
        image, place = torch.where(matched >= 0)
        chosen = matched[image, place].tolist()
        pairs = [(targets[number], index) for number, index in zip(image.tolist(), chosen, strict=True)]
        wanted = torch.zeros_like(head_outputs["cls_logits"])
        codes = head_outputs["bbox_regression"][image, place]
        true = torch.stack([target["boxes"][index] for target, index in pairs]) if pairs else codes.new_zeros(0, 4)
        for number, where, (target, index) in zip(image, place, pairs, strict=True):
            wanted[number, where, target["labels"][index]] = 1.0
        points = torch.stack(anchors)[image, place]
        distances = self.box_coder.encode(points, true)
        centerness = centerness_of(distances)
        losses = {
            "classification": self.losses.of_sigmoids(head_outputs["cls_logits"], wanted),
            "bbox_regression": self.losses.of_boxes((codes, distances), (self.box_coder.decode(codes, points), true)),
            "bbox_ctrness": F.binary_cross_entropy_with_logits(
                head_outputs["bbox_ctrness"][image, place, 0], centerness, reduction="sum"
            ),
        }
        count = max(mean_count(len(pairs), codes.device), 1 / world())
        return {name: one / count for name, one in losses.items()}


def centerness_of(distances: Tensor) -> Tensor:
    """(N,) 0..1 of (N, 4) distances to the left, upper, right and lower side: 1 in the middle of the box.

    Source: Tian 2019, equation 3.
    """
    across, down = distances[:, 0::2], distances[:, 1::2]
    return (across.amin(1) / across.amax(1) * (down.amin(1) / down.amax(1))).sqrt()


def build(card: ModelCard, backbone: nn.Module, losses: Losses) -> FCOS:
    """The detector of a card, whose ``anchor_sizes_px`` are one size a level: the unit of the distances.

    Source: Tian 2019 and 2020, in torchvision's form: a box belongs to the places within 1.5 sizes of its centre on
    the level where its farthest side is 4 to 8 sizes away, and the first and last level take what is smaller and
    larger.
    """
    head = ChoosingHead(card.fpn_channels, card.classes, losses.resolved("focal", "giou"))
    detector = FCOS(
        backbone,
        card.classes,
        anchor_generator=Float32AnchorGenerator(card.anchor_sizes_px, ((1.0,),) * len(card.strides)),
        head=head,
        center_sampling_radius=1.5,
        score_thresh=card.score_threshold,
        nms_thresh=card.nms_iou,
        detections_per_img=card.max_detections,
        topk_candidates=4 * card.max_detections,
    )
    answer_in_float32(head)
    detector.transform = normalise(card)
    return detector
