"""FCOS: one stage without anchors; each place of the pyramid says how far away the sides of its box are."""

from __future__ import annotations

from torch import nn
from torchvision.models.detection import FCOS
from torchvision.models.detection._utils import BoxLinearCoder
from torchvision.models.detection.fcos import FCOSClassificationHead, FCOSHead, FCOSRegressionHead

from lungct.models.backbone import group_norm
from lungct.models.card import ModelCard
from lungct.models.normalise import normalise
from lungct.models.precision import Float32AnchorGenerator, answer_in_float32


class AnyWidthHead(FCOSHead):  # type: ignore[misc]
    """torchvision's head with group norms of eight channels a group; theirs, of 32 groups, need wide pyramids."""

    def __init__(self, channels: int, classes: int) -> None:
        nn.Module.__init__(self)
        self.box_coder = BoxLinearCoder(normalize_by_size=True)
        self.classification_head = FCOSClassificationHead(channels, 1, classes, norm_layer=group_norm)
        self.regression_head = FCOSRegressionHead(channels, 1, norm_layer=group_norm)


def build(card: ModelCard, backbone: nn.Module) -> FCOS:
    """The detector of a card, whose ``anchor_sizes_px`` are one size a level: the unit of the distances.

    Source: Tian 2019 and 2020, in torchvision's form: a box belongs to the places within 1.5 sizes of its centre on
    the level where its farthest side is 4 to 8 sizes away, and the first and last level take what is smaller and
    larger.
    """
    head = AnyWidthHead(card.fpn_channels, card.classes)
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
