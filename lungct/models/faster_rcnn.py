"""Faster R-CNN with few proposals and a small box head, for nodules of some ten pixels."""

from __future__ import annotations

from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign

from lungct.models.card import ModelCard
from lungct.models.losses import Losses
from lungct.models.normalise import normalise
from lungct.models.precision import Float32AnchorGenerator, answer_in_float32
from lungct.models.roi_heads import ShakenRoIHeads
from lungct.models.rpn import ChoosingRPN

POOLED = 7


def build(card: ModelCard, backbone: nn.Module, losses: Losses) -> FasterRCNN:
    """The detector of a card.

    Source: Ren 2015, in torchvision's form; the second stage's foreground is a quarter of the sampled proposals, an
    anchor is foreground from IoU .5 on (theirs .7), for small boxes on a coarse grid seldom reach more.
    """
    levels = [str(level) for level in range(len(card.strides))]
    pool = MultiScaleRoIAlign(levels, output_size=POOLED, sampling_ratio=1)
    detector = FasterRCNN(
        backbone,
        box_roi_pool=pool,
        box_head=nn.Identity(),  # the second stage is put in below; torchvision's own would be of 1024 units
        box_predictor=nn.Identity(),
        rpn_anchor_generator=Float32AnchorGenerator(card.anchor_sizes_px, (card.aspect_ratios,) * len(levels)),
    )
    losses = losses.resolved("cross-entropy", "smooth_l1")
    detector.rpn = ChoosingRPN(
        losses,
        detector.rpn.anchor_generator,
        detector.rpn.head,
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.3,
        batch_size_per_image=card.sampled_anchors,
        positive_fraction=0.5,
        pre_nms_top_n={"training": 2 * card.proposals_train, "testing": 2 * card.proposals_test},
        post_nms_top_n={"training": card.proposals_train, "testing": card.proposals_test},
        nms_thresh=0.7,
    )
    detector.roi_heads = ShakenRoIHeads(
        losses,
        pool,
        TwoMLPHead(card.fpn_channels * POOLED**2, card.head_units),
        FastRCNNPredictor(card.head_units, card.classes),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=card.sampled_proposals,
        positive_fraction=0.25,
        bbox_reg_weights=None,
        score_thresh=card.score_threshold,
        nms_thresh=card.nms_iou,
        detections_per_img=card.max_detections,
    )
    answer_in_float32(detector.rpn.head)
    answer_in_float32(detector.roi_heads.box_predictor)
    detector.transform = normalise(card)
    return detector
