"""Ablation-CAM: each channel weighs as much as the target falls when it is set to zero.

    w_k = (y - y without A_k) / y,   map = ReLU(sum_k w_k A_k)

Only what comes after the level is computed again. A channel that is zero already has weight 0 without a pass.

Source: Desai & Ramaswamy 2020, WACV, equations 2 and 3. pytorch-grad-cam sets a channel of a level with negative values
not to zero but to 1e7 below the smallest; that is another method.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from lungct.explain.base import Cost, Costing, Explanation, Method, MethodOptions, Subject, head_of
from lungct.explain.batches import in_batches, paying_heads
from lungct.types import FloatArray, IntArray


@torch.no_grad()
def ablationcam(subject: Subject, options: MethodOptions) -> Explanation:
    """One weighted sum of activations per detection, before the ReLU."""
    raw: list[FloatArray] = [np.empty(0)] * len(subject.detections)
    value, passes = np.zeros(len(raw)), 0
    for level, mine in subject.by_level():
        activations = subject.activations[level]
        drop, y, count = drops(subject, level, activations, mine, options.batch)
        weights = np.divide(drop, y, out=np.zeros_like(drop), where=y != 0)
        together = np.tensordot(weights, activations.double().cpu().numpy(), axes=(0, 0))
        for place, number in enumerate(mine.tolist()):
            raw[number] = together[place].astype(np.float32)
        value[mine], passes = y, passes + count
    facts = {"head_passes": passes, "target_value": np.round(value, 6).tolist()}
    return Explanation(raw, subject.layers, rectify=True, record=facts)


def drops(
    subject: Subject, level: int, activations: Tensor, mine: IntArray, batch: int
) -> tuple[FloatArray, FloatArray, int]:
    """(C, n) float64 fall of the targets of detections ``mine`` without each channel, (n,) the targets, and passes."""
    head = head_of(subject)
    y = head(level, activations[None], mine)[0].double().cpu().numpy()
    live = _live(activations)
    drop = np.zeros((len(activations), len(mine)))

    def without(part: range) -> FloatArray:
        channels = live[part.start : part.stop]
        changed = activations.repeat(len(channels), 1, 1, 1)
        changed[torch.arange(len(channels)), channels] = 0
        kept: FloatArray = head(level, changed, mine).double().cpu().numpy()
        return kept

    for part, kept in in_batches(len(live), batch or paying_heads(activations), without):
        drop[live[part.start : part.stop].cpu().numpy()] = y - kept
    return drop, y, 1 + len(live)


def _live(activations: Tensor) -> Tensor:
    return torch.nonzero(activations.flatten(1).any(dim=1)).flatten()


def _cost(subject: Subject, _: MethodOptions) -> Cost:
    return Cost(heads=sum(1 + len(_live(subject.activations[level])) for level, _ in subject.by_level()))


METHODS: Mapping[str, Method] = {"ablationcam": ablationcam}
COSTS: Mapping[str, Costing] = {"ablationcam": _cost}
