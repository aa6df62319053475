"""From a model card to a feature pyramid on the trunk that the registry names."""

from __future__ import annotations

import importlib
import itertools
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d

from lungct.models.card import ModelCard
from lungct.registry import BACKBONES

CHANNELS_PER_GROUP = 8
NormLayer = Callable[[int], nn.Module]


@dataclass(frozen=True)
class Trunk:
    """A classification network of torchvision that pyramids stand on; each backbone's file has one, ``TRUNK``.

    Attributes:
        make: its feature layers by child name, from a channel multiplier and a norm layer; untrained.
        taps: stride -> child whose output has it.
        norm_eps: of its batch norms.
        prefix: of its feature layers' names among torchvision's parameters.
        imagenet: torchvision's weights of it.
    """

    make: Callable[[float, NormLayer], nn.Module]
    taps: Mapping[int, str]
    norm_eps: float
    prefix: str
    imagenet: Any


def trunk_of(backbone: str) -> Trunk:
    """The trunk of a name of ``registry.BACKBONES``."""
    trunk: Trunk = importlib.import_module(BACKBONES[backbone].module).TRUNK
    return trunk


class PyramidBackbone(nn.Module):
    """``body`` (named maps) and ``fpn``; returns levels ``"0", "1", ...``, finest first, each of ``out_channels``.

    Source: Lin 2017 (FPN), without the extra pooled level.
    """

    def __init__(self, body: IntermediateLayerGetter, in_channels: list[int], out_channels: int) -> None:
        super().__init__()
        self.body = body
        self.fpn = FeaturePyramidNetwork(in_channels, out_channels)
        self.out_channels = out_channels
        self.still: tuple[str, ...] = ()

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """(B, C, Y, X) to the pyramid."""
        levels: OrderedDict[str, Tensor] = self.fpn(self.body(images))
        return levels

    def stages(self) -> list[list[str]]:
        """Children of the body between one tap and the next, shallowest first."""
        taps = set(self.body.return_layers)
        stages: list[list[str]] = [[]]
        for name, _ in self.body.named_children():
            stages[-1].append(name)
            if name in taps:
                stages.append([])
        return [stage for stage in stages if stage]

    def hold_still(self, learning: int) -> None:
        """Let only the ``learning`` deepest stages learn; the others keep their weights and their norms' statistics."""
        stages = self.stages()
        self.still = tuple(itertools.chain(*stages[: max(len(stages) - learning, 0)]))
        for name in self.still:
            self.body[name].requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> PyramidBackbone:
        """As ever, but for the stages that are held still, whose batch norms go on using what they have."""
        super().train(mode)
        for name in self.still:
            self.body[name].eval()
        return self


def build_backbone(card: ModelCard) -> PyramidBackbone:
    """The untrained backbone of a card; what lies behind the coarsest level is left out."""
    trunk = trunk_of(card.backbone)
    layers = trunk.make(card.width, norm_layer(card.norm, trunk.norm_eps))
    if card.in_channels != 3:
        _widen_stem(layers, card.in_channels)
    names = [trunk.taps[stride] for stride in card.strides]
    channels = [_out_channels(layers.get_submodule(name)) for name in names]
    body = IntermediateLayerGetter(layers, {name: str(level) for level, name in enumerate(names)})
    if card.norm == "folded":
        fold_norms(body)
    return PyramidBackbone(body, channels, card.fpn_channels)


def norm_layer(norm: str, eps: float) -> NormLayer:
    """The maker of a norm of ``registry.NORMS``; ``folded`` starts as batch norms."""
    if norm == "group":
        return group_norm
    if norm == "frozen":
        return partial(FrozenBatchNorm2d, eps=eps)
    return partial(nn.BatchNorm2d, momentum=0.05, eps=eps)


def group_norm(channels: int) -> nn.GroupNorm:
    """Groups of eight channels, or of as many as divide both eight and the channels.

    Source: Wu & He 2018, whose groups are of sixteen.
    """
    return nn.GroupNorm(channels // math.gcd(channels, CHANNELS_PER_GROUP), channels)


def stem_of(layers: nn.Module) -> tuple[str, nn.Conv2d]:
    """Name and module of the first convolution, which sees the image."""
    return next((name, one) for name, one in layers.named_modules() if isinstance(one, nn.Conv2d))


def _widen_stem(layers: nn.Module, in_channels: int) -> None:
    name, old = stem_of(layers)
    new = nn.Conv2d(in_channels, old.out_channels, old.kernel_size, old.stride, old.padding, bias=False)  # type: ignore[arg-type]
    nn.init.kaiming_normal_(new.weight, mode="fan_out")
    parent, _, child = name.rpartition(".")
    setattr(layers.get_submodule(parent), child, new)


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
