"""EfficientNetV2-S as a trunk: fused blocks where maps are large, attended ones where they are small.

Source: Tan & Le 2021, table 4, in torchvision's form.
"""

from __future__ import annotations

from torch import nn
from torchvision.models import EfficientNet, EfficientNet_V2_S_Weights
from torchvision.models.efficientnet import FusedMBConvConfig, MBConvConfig

from lungct.models.backbone import NormLayer, Trunk

STAGES = (
    (FusedMBConvConfig, 1, 1, 24, 24, 2),
    (FusedMBConvConfig, 4, 2, 24, 48, 4),
    (FusedMBConvConfig, 4, 2, 48, 64, 4),
    (MBConvConfig, 4, 2, 64, 128, 6),
    (MBConvConfig, 6, 1, 128, 160, 9),
    (MBConvConfig, 6, 2, 160, 256, 15),
)
"""Kind, expansion, stride, channels in and out, blocks."""


def layers(width: float, norm: NormLayer) -> nn.Module:
    """Its stages, named 0 (the stem) to 7; ``width`` multiplies the channels of each."""
    stages = [
        kind(expansion, 3, stride, _scaled(into, width), _scaled(out, width), blocks)
        for kind, expansion, stride, into, out, blocks in STAGES
    ]
    features: nn.Module = EfficientNet(stages, dropout=0.0, last_channel=8, num_classes=1, norm_layer=norm).features
    return features


def _scaled(channels: int, width: float) -> int:
    return max(8, round(channels * width / 8) * 8)


TRUNK = Trunk(
    make=layers,
    taps={4: "2", 8: "3", 16: "5", 32: "6"},
    norm_eps=1e-3,
    prefix="features.",
    imagenet=EfficientNet_V2_S_Weights.IMAGENET1K_V1,
)
