"""ResNet50 as a trunk: bottleneck residuals, what most published detectors stand on.

Source: He 2016, in torchvision's form (the stride in the 3 x 3 convolution).
"""

from __future__ import annotations

from torch import nn
from torchvision.models import ResNet, ResNet50_Weights
from torchvision.models.resnet import Bottleneck

from lungct.models.backbone import NormLayer, Trunk

DEPTHS = [3, 4, 6, 3]
BASE_WIDTH = 64


def layers(width: float, norm: NormLayer) -> nn.Module:
    """conv1, bn1, relu, maxpool, layer1 to layer4; ``width`` multiplies the channels *inside* the bottlenecks.

    Source: Zagoruyko 2016 widens so; the channels between the blocks stay 256 to 2048.
    """
    network: nn.Module = ResNet(
        Bottleneck, DEPTHS, num_classes=1, width_per_group=max(8, round(BASE_WIDTH * width)), norm_layer=norm
    )
    return network


TRUNK = Trunk(
    make=layers,
    taps={4: "layer1", 8: "layer2", 16: "layer3", 32: "layer4"},
    norm_eps=1e-5,
    prefix="",
    imagenet=ResNet50_Weights.IMAGENET1K_V2,
)
