"""A trained detector made quicker to run, with the same answers to rounding: norms folded, channels last in memory."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lungct.models.detector import LoadedModel


def quickened(model: LoadedModel) -> LoadedModel:
    """The model for detection alone; its detector is changed in place and learns no more.

    A batch norm that follows a convolution in a sequence becomes part of it: on a CPU a third of the time of
    MobileNetV2 goes with the norms and with the order of its feature maps in memory.
    """
    detector = model.detector.eval()
    for part in list(detector.modules()):
        if isinstance(part, nn.Sequential):
            _fold(part)
    if model.device.type != "mps":
        detector = detector.to(memory_format=torch.channels_last)
    return LoadedModel(detector, model.card)


def _fold(sequence: nn.Sequential) -> None:
    for first, second in pairwise(list(sequence._modules)):
        convolution, norm = sequence._modules[first], sequence._modules[second]
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            sequence._modules[first] = fuse_conv_bn_eval(convolution, norm)
            sequence._modules[second] = nn.Identity()
