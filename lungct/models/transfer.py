"""Puts pretrained weights into a detector, as far as they fit, and says what did and what did not."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter

from lungct.errors import InputError
from lungct.models.backbone import build_backbone, fold_norms, stem_of, trunk_of
from lungct.models.card import ModelCard
from lungct.models.weights import BODY, PretrainedWeights, adapt_stem

PYRAMID_BLOCK = re.compile(r"(backbone\.fpn\.(?:inner|layer)_blocks\.)(\d+)(\..*)")
CLASS_LAYERS = ("roi_heads.box_predictor.", "head.classification_head.cls_logits.")
PLACE_LAYERS = ("rpn.head.cls_logits.", "rpn.head.bbox_pred.", "head.regression_head.bbox_")


@dataclass(frozen=True)
class Transferred:
    """Names of the detector's tensors that were loaded, those made anew, and offered ones that found no place."""

    loaded: tuple[str, ...]
    made_anew: tuple[str, ...]
    unused: tuple[str, ...]

    def facts(self) -> dict[str, str]:
        """Parts of the detector with their numbers of tensors, for a table or JSON."""
        sides = {"loaded": self.loaded, "made_anew": self.made_anew, "left": self.unused}
        return {f"weights_{side}": _parts(names) or "nothing" for side, names in sides.items()}


def transfer(
    detector: nn.Module, card: ModelCard, weights: PretrainedWeights, *, source: str, stem: str = "mean"
) -> Transferred:
    """Load the backbone whole, and of another detector's pyramid and heads what has the same place and shape.

    The layers that answer for a class are loaded only from a run of the same categories, those that answer for an
    anchor only from a run of the same kind of detector.

    Raises:
        InputError: a tensor of the backbone is missing or of another shape; ``source`` names the file in the message.
    """
    offered = _body(card, weights, source, stem)
    if weights.whole_detector:
        offered |= _beside_the_body(card, weights)
    own = detector.state_dict()
    fitting = {name: one for name, one in offered.items() if name in own and own[name].shape == one.shape}
    detector.load_state_dict(fitting, strict=False)
    unused = [name for name in (*offered, *_outside(weights)) if name not in fitting]
    return Transferred(tuple(fitting), tuple(name for name in own if name not in fitting), tuple(unused))


def _body(card: ModelCard, weights: PretrainedWeights, source: str, stem: str) -> dict[str, Tensor]:
    """The tensors of the backbone's body under the detector's names, with the card's norm and depth of stack."""
    theirs = dataclasses.replace(
        card,
        norm=weights.card.norm if weights.card else "batch",
        in_channels=weights.card.in_channels if weights.card else 3,
    )
    prefix = BODY if weights.whole_detector else trunk_of(card.backbone).prefix
    body = build_backbone(theirs).body
    _fill(body, weights.tensors, prefix, source, card.backbone)
    if card.norm == "folded":
        fold_norms(body)
    tensors = dict(body.state_dict())
    if card.norm == "group" and not weights.card:  # statistics of a batch say nothing about groups
        norms = [name for name, one in body.named_modules() if isinstance(one, nn.BatchNorm2d)]
        tensors = {name: one for name, one in tensors.items() if name.rpartition(".")[0] not in norms}
    first = f"{stem_of(body)[0]}.weight"
    tensors[first] = adapt_stem(tensors[first], card.in_channels, stem)
    return {BODY + name: one for name, one in tensors.items()}


@torch.no_grad()
def _fill(
    body: IntermediateLayerGetter, tensors: Mapping[str, Tensor], prefix: str, source: str, backbone: str
) -> None:
    for name, value in body.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        if prefix + name not in tensors:
            raise InputError.of(source, f"no tensor {prefix}{name} in it", f"expected torchvision's {backbone}")
        found = tensors[prefix + name]
        if found.shape != value.shape:
            raise InputError.of(source, f"{prefix}{name} is {tuple(found.shape)}, not {tuple(value.shape)}")
        value.copy_(found)


def _beside_the_body(card: ModelCard, weights: PretrainedWeights) -> dict[str, Tensor]:
    """Pyramid levels at the place of their stride, and the heads that mean the same in both detectors."""
    kept = {}
    for name, tensor in weights.tensors.items():
        block = PYRAMID_BLOCK.fullmatch(name)
        if block is not None:
            stride = weights.strides[int(block[2])]
            if stride in card.strides:
                kept[f"{block[1]}{card.strides.index(stride)}{block[3]}"] = tensor
        elif not name.startswith("backbone.") and _means_the_same(name, card, weights.card):
            kept[name] = tensor
    return kept


def _means_the_same(name: str, card: ModelCard, theirs: ModelCard | None) -> bool:
    if name.startswith(CLASS_LAYERS):
        return theirs is not None and theirs.detector == card.detector and theirs.categories == card.categories
    if name.startswith(PLACE_LAYERS):
        return theirs is not None and theirs.detector == card.detector
    return True


def _outside(weights: PretrainedWeights) -> Iterable[str]:
    """Names of the weights' tensors that lie outside of the body, a classifier's last layer for one."""
    return (name for name in weights.tensors if weights.whole_detector and not name.startswith(BODY))


def _parts(names: Iterable[str]) -> str:
    """Names as the parts of the detector that they belong to, each with its number of tensors."""
    counts = Counter(".".join(name.split(".")[: 2 if name.startswith("backbone.") else 3]) for name in names)
    return ", ".join(f"{part} ({count})" for part, count in counts.items())
