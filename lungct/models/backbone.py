"""MobileNetV2 tapped at strides 4, 8, 16 with a feature pyramid on top."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models import MobileNetV2
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.ops import FeaturePyramidNetwork

TAPS = {4: 3, 8: 6, 16: 13, 32: 18}
"""Stride -> index of the last block of that stride among MobileNetV2's features."""


class PyramidBackbone(nn.Module):
    """``body`` (named maps) and ``fpn``; returns levels ``"0", "1", ...``, finest first, each of ``out_channels``.

    Source: Sandler 2018 (MobileNetV2), Lin 2017 (FPN), without the extra pooled level.
    """

    def __init__(self, body: nn.Module, in_channels: list[int], out_channels: int) -> None:
        super().__init__()
        self.body = body
        self.fpn = FeaturePyramidNetwork(in_channels, out_channels)
        self.out_channels = out_channels

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """(B, C, Y, X) to the pyramid."""
        levels: OrderedDict[str, Tensor] = self.fpn(self.body(images))
        return levels


def mobilenet_v2(
    *, width: float, norm: str, in_channels: int, fpn_channels: int, strides: tuple[int, ...]
) -> PyramidBackbone:
    """An untrained backbone; the blocks after the coarsest tap are left out."""
    features = MobileNetV2(num_classes=1, width_mult=width, norm_layer=_norm_layer(norm)).features
    if in_channels != 3:
        old = features[0][0]
        features[0][0] = nn.Conv2d(in_channels, old.out_channels, 3, stride=2, padding=1, bias=False)
        nn.init.kaiming_normal_(features[0][0].weight, mode="fan_out")
    kept = features[: TAPS[strides[-1]] + 1]
    if norm == "folded":
        fold_norms(kept)
    taps = {str(TAPS[stride]): str(level) for level, stride in enumerate(strides)}
    channels = [_out_channels(kept[TAPS[stride]]) for stride in strides]
    return PyramidBackbone(IntermediateLayerGetter(kept, taps), channels, fpn_channels)


def _norm_layer(norm: str) -> Callable[..., nn.Module]:
    if norm == "group":
        return lambda channels: nn.GroupNorm(max(1, channels // 8), channels)
    return partial(nn.BatchNorm2d, momentum=0.05)


def _out_channels(block: nn.Module) -> int:
    return [one for one in block.modules() if isinstance(one, nn.Conv2d)][-1].out_channels


@torch.no_grad()
def fold_norms(module: nn.Module) -> None:
    """Put each batch norm into the convolution before it, in place, and an identity where it was.

    The result computes what the network computes with frozen norms, in half the passes over memory.
    """
    for parent in list(module.modules()):
        children = list(parent.named_children())
        for (_, conv), (name, norm) in itertools.pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                _fold(conv, norm)
                setattr(parent, name, nn.Identity())


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise ValueError("a norm without running statistics cannot be folded")
    scale = norm.weight / torch.sqrt(variance + norm.eps)
    conv.weight.mul_(scale[:, None, None, None])
    conv.bias = nn.Parameter(norm.bias - mean * scale)
