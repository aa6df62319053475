"""Sanity: does the map change where the network forgets what it learned?

    sanity-cascading    mean over stages s of max(rho(H, H_s), 0), H_s with all stages from the head to s randomised
    sanity-independent  mean over stages s of max(rho(H, H_s), 0), H_s with stage s alone randomised

rho is Spearman's correlation of the pixels at which one of the two maps is not 0. Near 1 the map does not depend on
what was learned, as an edge detector does not; less is better. The stages are the head's last layer, the rest of the
head, the pyramid and the trunk. A randomised tensor is drawn anew from a normal distribution of its own mean and
spread, so that activations keep their size; running statistics of norms stay.

Source: Adebayo 2018, Sanity checks for saliency maps, section 3. There all pixels count, and the amount of rho. But a
map that is 0 outside the few cells that a detection reads has these zeros in common with any other map of that
detection, which alone brings rho near 1. Without them, maps that are bright in different places have a negative rho,
which is no likeness.
"""

from __future__ import annotations

import copy
import dataclasses
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from lungct.explain.network import Network
from lungct.game.faithfulness.again import can_be_made, made_again, rank_correlation
from lungct.game.faithfulness.base import Case
from lungct.types import FloatArray

STAGES = {
    "last": ("roi_heads.box_predictor.", "head.classification_head.cls_logits."),
    "head": ("roi_heads.", "head.", "rpn."),
    "pyramid": ("backbone.fpn.",),
    "trunk": ("backbone.",),
}


def sanity(case: Case) -> Mapping[str, float]:
    """Both, over the same stages."""
    if not can_be_made(case):
        return {"sanity-cascading": float("nan"), "sanity-independent": float("nan")}
    start = case.heatmap.astype(np.float32)
    found = {}
    for name, cascading in (("sanity-cascading", True), ("sanity-independent", False)):
        alike = []
        for stage, network in zip(STAGES, randomised(case.network, case.settings.seed, cascading), strict=True):
            again = made_again(case, network, case.subject.image_hu, (name, stage))
            alike.append(likeness(start, again))
        found[name] = float(np.mean(alike))
    return found


def likeness(a: FloatArray, b: FloatArray) -> float:
    """Of two (Y, X) maps, 0 to 1: their rank correlation where one of them is not 0, if it is positive.

    Of a map that has one value beside 0 only the shape can be like another's, so that all pixels count.
    """
    lit = (a != 0) | (b != 0)
    if any(one.any() and np.ptp(one[one != 0]) == 0 for one in (a, b)):
        lit[:] = True
    return max(rank_correlation(a[lit], b[lit]), 0.0)


@lru_cache(maxsize=2)
def randomised(network: Network, seed: int, cascading: bool) -> tuple[Network, ...]:
    """A copy of the network per stage, from the head to the input, with the stage (and those before) randomised."""
    copies = []
    for place in range(len(STAGES)):
        detector = copy.deepcopy(network.detector)
        first = 0 if cascading else place
        for stage in list(STAGES)[first : place + 1]:
            _forget(detector, stage, seed)
        copies.append(dataclasses.replace(network, model=dataclasses.replace(network.model, detector=detector)))
    return tuple(copies)


def stage_of(name: str) -> str:
    """The first stage whose prefix a parameter's name has."""
    return next(stage for stage, prefixes in STAGES.items() if name.startswith(prefixes))


@torch.no_grad()
def _forget(detector: nn.Module, stage: str, seed: int) -> None:
    for name, tensor in _of_stage(detector, stage):
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
        spread = float(tensor.std(unbiased=False)) if tensor.numel() > 1 else abs(float(tensor))
        drawn = torch.randn(tensor.shape, generator=generator) * spread + float(tensor.mean())
        tensor.copy_(drawn.to(tensor))


def _of_stage(detector: nn.Module, stage: str) -> Iterator[tuple[str, torch.Tensor]]:
    named: Sequence[tuple[str, torch.Tensor]] = list(detector.named_parameters())
    for name, tensor in named:
        if stage_of(name) == stage:
            yield name, tensor


MEASURE = sanity
