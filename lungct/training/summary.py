"""What each detector on each backbone amounts to, by the default options: parameters, strides, anchors, operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from lungct.models.card import ModelCard
from lungct.models.detector import build_detector
from lungct.models.faster_rcnn import POOLED
from lungct.registry import BACKBONES, DETECTORS
from lungct.training.options import TrainOptions, parse_strides

CHANNELS = 3
ANCHORS_PER_PLACE = 3


@dataclass(frozen=True)
class ModelFacts:
    """Of one pair.

    Attributes:
        parameters: number of weights.
        strides: of its levels, input pixels.
        anchors: at each place of a level; 0 without anchors.
        gflops: 1e9 floating-point operations of one detection on 3 x side x side, a multiplication and an addition
            being two; without pooling of proposals and non-maximum suppression.
        side: of that input, network pixels.
    """

    detector: str
    backbone: str
    parameters: int
    strides: tuple[int, ...]
    anchors: int
    gflops: float
    side: int

    def __str__(self) -> str:
        anchors = f"{self.anchors} anchors a place" if self.anchors else "no anchors"
        strides = "/".join(map(str, self.strides))
        return (
            f"{self.parameters / 1e6:.2f} M parameters, strides {strides}, {anchors}, "
            f"{self.gflops:.1f} GFLOPs at {self.side} px"
        )


def model_facts(detector: str, backbone: str) -> ModelFacts:
    """The facts of a pair, from its layers' shapes alone: no weight is made, nothing is computed."""
    options = TrainOptions(detector=detector, backbone=backbone)
    strides = parse_strides(options.strides)
    anchors = 0 if detector == "fcos" else ANCHORS_PER_PLACE
    card = ModelCard(
        detector=detector,
        backbone=backbone,
        width=options.width,
        norm="folded",
        fpn_channels=options.fpn_channels,
        strides=strides,
        anchor_sizes_px=(tuple(float(index + 8) for index in range(max(anchors, 1))),) * len(strides),
        head_units=options.head_units,
        in_channels=CHANNELS,
        hu_window=options.hu_range,
        magnify=options.magnify,
        categories={1: "nodule"},
    )
    with torch.device("meta"):
        network: Any = build_detector(card).eval()
        image = torch.empty(1, CHANNELS, options.crop_px, options.crop_px)
        pooled = torch.empty(card.proposals_test, card.fpn_channels, POOLED, POOLED)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        levels = list(network.backbone(image).values())
        if hasattr(network, "roi_heads"):
            network.rpn.head(levels)
            network.roi_heads.box_predictor(network.roi_heads.box_head(pooled))
        else:
            network.head(levels)
    parameters = sum(one.numel() for one in network.parameters())
    gflops = round(counter.get_total_flops() / 1e9, 2)
    return ModelFacts(detector, backbone, parameters, strides, anchors, gflops, options.crop_px)


def all_model_facts() -> list[ModelFacts]:
    """Every detector on every backbone of the registry."""
    return [model_facts(detector, backbone) for detector in DETECTORS for backbone in BACKBONES]
