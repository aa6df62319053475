"""A Faster R-CNN whose every weight is set by hand: its score is the brightness in the box, or that of one corner."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lungct.models.backbone import PyramidBackbone
from lungct.models.detector import LoadedModel, build_detector

from .conftest import card_of

CHANNELS = 16
SLOPE, OFFSET = 12.0, 3.0
CORNER_PX = 8


class Brightness(nn.Module):
    """Channel 0 is how much brighter than lung the surroundings of each cell are, channel 1 how much darker."""

    def __init__(self, *, of_corner: bool) -> None:
        super().__init__()
        self.of_corner = of_corner

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Normalised (B, 3, H, W) to strides 4, 8 and 16; a window's centre lies where its cell is read."""
        gray = images.mean(dim=1, keepdim=True)
        if self.of_corner:
            gray = gray[:, :, :CORNER_PX, :CORNER_PX].mean(dim=(2, 3), keepdim=True).expand_as(gray)
        levels = OrderedDict()
        for level, stride in enumerate((4, 8, 16)):
            mean = F.avg_pool2d(gray, stride + 1, stride, padding=stride // 2, count_include_pad=False)
            rest = torch.zeros_like(mean).expand(-1, CHANNELS - 2, -1, -1)
            levels[str(level)] = torch.cat(((mean + 1).relu(), (-1 - mean).relu(), rest), dim=1)
        return levels


@torch.no_grad()
def brightness_detector(*, of_corner: bool = False) -> LoadedModel:
    """p = sigmoid(12 u - 3), u the mean of channel 0 over the box's 7 x 7 samples on P2; boxes are its proposals."""
    card = card_of("faster-rcnn")
    detector = build_detector(card).eval()
    backbone = PyramidBackbone(Brightness(of_corner=of_corner), [CHANNELS] * 3, CHANNELS)  # type: ignore[arg-type]
    for parameter in [*backbone.parameters(), *detector.rpn.parameters(), *detector.roi_heads.parameters()]:  # type: ignore[union-attr]
        parameter.zero_()
    same = torch.eye(CHANNELS)
    backbone.fpn.inner_blocks[0][0].weight.copy_(same[:, :, None, None])
    backbone.fpn.layer_blocks[0][0].weight[:, :, 1, 1] = same
    detector.backbone = backbone
    head, rois = detector.rpn.head, detector.roi_heads  # type: ignore[union-attr]
    head.conv[0][0].weight[:, :, 1, 1] = same  # type: ignore[union-attr, index]
    head.cls_logits.weight[:, 0] = 1  # type: ignore[union-attr]
    rois.box_head.fc6.weight[0, :49] = 1 / 49  # type: ignore[union-attr]
    rois.box_head.fc7.weight[0, 0] = 1  # type: ignore[union-attr]
    rois.box_predictor.cls_score.weight[1, 0] = SLOPE  # type: ignore[union-attr]
    rois.box_predictor.cls_score.bias[1] = -OFFSET  # type: ignore[union-attr]
    return LoadedModel(detector, card)
