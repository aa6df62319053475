"""What the Score-CAM family shares: each channel as a mask of the image, and the target that is left under it.

    S_k = mean over n of f(image under H_k, n-th time) - f(X_b),   map = ReLU(sum_k w(S_k) A_k)

A_k is channel k of the detection's level and H_k its upsampled, min-max scaled form. The masked passes are shared by
all detections read from the same level, masks are made batch by batch, and a constant channel, which has no H_k and
hides everything, has S_k = 0 without a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from lungct.explain.base import Cost, Explanation, MethodOptions, Subject
from lungct.explain.baselines import baseline_of
from lungct.explain.batches import in_batches, paying_batch
from lungct.explain.clusters import clusters_of
from lungct.explain.scorers import Scores
from lungct.types import FloatArray, IntArray

Masking: TypeAlias = Callable[[Tensor, Tensor, Tensor, list[tuple[int, int]]], Tensor]
"""(image, baseline, (B, H, W) masks, B pairs of channel and sample) -> (B, C, H, W) masked images."""


@dataclass(frozen=True, eq=False)
class Kept:
    """Of one level: ``score`` (C, D) float64 mean over the samples, ``lost`` (C, D) share, number of ``passes``."""

    score: FloatArray
    lost: FloatArray
    passes: int


@torch.inference_mode()
def explain_by_channels(
    subject: Subject, options: MethodOptions, masked: Masking, samples: int, record: Mapping[str, Any]
) -> Explanation:
    """One weighted sum of activations per detection, before the ReLU; ``masked`` is what sets a method apart."""
    base = baseline_of(subject, options.baseline)
    start = subject.scorer(torch.stack((subject.image, base))).score.double().cpu().numpy()
    raw: list[FloatArray] = [np.empty(0)] * len(subject.detections)
    lost, gained, passes = np.zeros(len(raw)), np.zeros(len(raw), dtype=int), 2
    for level, mine in subject.by_level():
        found = kept_scores(subject, level, base, start[1], options, masked, samples)
        activations = subject.activations[level].double().cpu().numpy()
        for number in mine.tolist():
            weights = weights_of(found.score[:, number], options.weights, start[1, number])
            raw[number] = np.tensordot(weights, activations, axes=1).astype(np.float32)
        lost[mine] = found.lost[:, mine].mean(axis=0)
        gained[mine] = (found.score[:, mine] > start[1, mine]).sum(axis=0)
        passes += found.passes
    facts = {
        "weights": options.weights,
        "baseline": options.baseline,
        "passes": passes,
        "score_unmasked": np.round(start[0], 6).tolist(),
        "score_baseline": np.round(start[1], 6).tolist(),
        "channels_above_baseline": gained.tolist(),
        "lost_fraction": np.round(lost, 6).tolist(),
    }
    return Explanation(raw, subject.layers, rectify=True, record={**facts, **record})


def kept_scores(
    subject: Subject,
    level: int,
    base: Tensor,
    base_score: FloatArray,
    options: MethodOptions,
    masked: Masking,
    samples: int,
) -> Kept:
    """The target under every channel of a level, for every detection; that of the baseline for constant channels."""
    activations, group = subject.activations[level], None
    if options.approximate == "clusters":
        group, activations = clusters_of(activations, options.seed)
    rows, columns = subject.geometry.matrices_to_input((activations.shape[1], activations.shape[2]))
    rows_t, columns_t = (torch.from_numpy(one).to(activations) for one in (rows, columns))
    live = live_channels(activations)
    total = np.zeros((len(activations), len(base_score)))
    lost = np.zeros(total.shape)

    def score(part: range) -> tuple[IntArray, Scores]:
        pairs = [(int(live[place // samples]), place % samples) for place in part]
        channels, where = np.unique([channel for channel, _ in pairs], return_inverse=True)
        masks = unit_range(rows_t @ activations[channels] @ columns_t.T)[where]
        return channels[where], subject.scorer(masked(subject.image, base, masks, pairs))

    for _, (channels, scores) in in_batches(len(live) * samples, options.batch or paying_batch(subject.image), score):
        np.add.at(total, channels, scores.score.double().cpu().numpy() / samples)
        np.add.at(lost, channels, scores.lost.cpu().numpy() / samples)
    total[np.setdiff1d(np.arange(len(total)), live)] = base_score
    if group is not None:
        total, lost = total[group], lost[group]
    return Kept(total, lost, len(live) * samples)


def live_channels(activations: Tensor) -> IntArray:
    """Numbers of the channels of (C, h, w) that are not constant."""
    live: IntArray = torch.nonzero(activations.amax(dim=(1, 2)) > activations.amin(dim=(1, 2))).flatten().cpu().numpy()
    return live


def unit_range(maps: Tensor) -> Tensor:
    """(B, H, W) maps, each min-max scaled to 0..1."""
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return (maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny)


def weights_of(score: FloatArray, kind: str, base: float = 0.0) -> FloatArray:
    """(C,) channel weights of (C,) scores: max(S, 0) of the rises S over ``base``, their softmax, or the scores."""
    if kind == "linear":
        rise: FloatArray = np.maximum(score - base, 0)
        return rise
    if kind == "prob":
        return score
    exponentials = np.exp(score - score.max())
    share: FloatArray = exponentials / exponentials.sum()
    return share


def cost_by_channels(subject: Subject, options: MethodOptions, samples: int) -> Cost:
    """Passes of :func:`explain_by_channels`."""
    count = 0
    for level, _ in subject.by_level():
        activations = subject.activations[level]
        if options.approximate == "clusters":
            _, activations = clusters_of(activations, options.seed)
        count += len(live_channels(activations))
    return Cost(images=2 + count * samples)
