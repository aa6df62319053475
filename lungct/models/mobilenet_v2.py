"""MobileNetV2 as a trunk: inverted residuals, cheap enough for a CPU.

Source: Sandler 2018, in torchvision's form.
"""

from __future__ import annotations

from torch import nn
from torchvision.models import MobileNet_V2_Weights, MobileNetV2

from lungct.models.backbone import NormLayer, Trunk


def layers(width: float, norm: NormLayer) -> nn.Module:
    """Its blocks, named 0 to 18; ``width`` multiplies the channels of each."""
    features: nn.Module = MobileNetV2(num_classes=1, width_mult=width, norm_layer=norm).features
    return features


TRUNK = Trunk(
    make=layers,
    taps={4: "3", 8: "6", 16: "13", 32: "18"},
    norm_eps=1e-5,
    prefix="features.",
    imagenet=MobileNet_V2_Weights.IMAGENET1K_V2,
)
