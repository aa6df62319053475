"""Score-CAM: each channel weighs as much as the score that is kept where it alone lets the image through.

    S_k = f(X . H_k) - f(X_b),   map = ReLU(sum_k w_k A_k)

A_k is channel k of the detection's pyramid level, H_k its upsampled, min-max scaled form, X the network's input, X_b
the baseline, and f the detection's score. The C masked passes are shared by all detections of the image that are read
from the same level. A constant channel has no H_k; it masks everything, so its S_k is 0 without a pass.

Source: Wang 2020, arXiv:1910.01279, equations 4-6. There w is the softmax of S, which for scores in 0..1 keeps all
weights within a factor e, so that the map is nearly the mean activation: ``softmax`` does that, and ``linear``, ours by
default, takes w = max(S, 0). A masked pixel becomes X_b there and here: air (0) or the image's mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lungct.explain.base import Explanation, Method, MethodOptions, Subject
from lungct.explain.network import level_name
from lungct.types import FloatArray

WEIGHTS = ("linear", "softmax")
BASELINES = ("zero", "mean")
CPU_BATCH_PX = 512 * 512
GPU_BATCH_PX = 32 * 512 * 512


@dataclass(frozen=True, eq=False)
class Rises:
    """S of one level: ``rise`` (C, D) float64, ``lost`` (C, D) bool, and the number of forward ``passes``."""

    rise: FloatArray
    lost: FloatArray
    passes: int


@torch.inference_mode()
def scorecam(subject: Subject, options: MethodOptions) -> Explanation:
    """One weighted sum of activations per detection, before the ReLU."""
    base = baseline_of(subject.image, options.baseline)
    start = subject.scorer(torch.stack((subject.image, base))).score.double().cpu().numpy()
    of_level = {
        level: rises(subject, activations, base, start[1], options.batch)
        for level, activations in subject.activations.items()
    }
    raw, lost, gained = [], [], []
    for number, level in enumerate(subject.levels.tolist()):
        found = of_level[level]
        weights = weights_of(found.rise[:, number], options.weights)
        activations = subject.activations[level].double().cpu().numpy()
        raw.append(np.tensordot(weights, activations, axes=1).astype(np.float32))
        lost.append(round(float(found.lost[:, number].mean()), 6))
        gained.append(int((found.rise[:, number] > 0).sum()))
    record = {
        "weights": options.weights,
        "baseline": options.baseline,
        "passes": 2 + sum(found.passes for found in of_level.values()),
        "score_unmasked": np.round(start[0], 6).tolist(),
        "score_baseline": np.round(start[1], 6).tolist(),
        "channels_above_baseline": gained,
        "lost_fraction": lost,
    }
    return Explanation(raw, [level_name(level) for level in subject.levels], rectify=True, record=record)


def baseline_of(image: Tensor, kind: str) -> Tensor:
    """(C, H, W) image without content: ``zero`` or each channel's ``mean``."""
    if kind == "zero":
        return torch.zeros_like(image)
    return image.mean(dim=(1, 2), keepdim=True).expand_as(image).clone()


def rises(subject: Subject, activations: Tensor, base: Tensor, base_score: FloatArray, batch: int) -> Rises:
    """S_k of every channel of a (C, h, w) level for every detection; masks are built batch by batch."""
    rows, columns = subject.geometry.matrices_to_input((activations.shape[1], activations.shape[2]))
    rows_t, columns_t = (torch.from_numpy(one).to(activations) for one in (rows, columns))
    live = torch.nonzero(activations.amax(dim=(1, 2)) > activations.amin(dim=(1, 2))).flatten()
    rise = np.zeros((len(activations), len(base_score)))
    lost = np.zeros(rise.shape)
    passes = 0
    for channels in live.split(batch or paying_batch(subject.image)):
        masks = unit_range(rows_t @ activations[channels] @ columns_t.T)
        passes += len(channels)
        scores = subject.scorer(torch.lerp(base[None], subject.image[None], masks[:, None]))
        rise[channels.cpu().numpy()] = scores.score.double().cpu().numpy() - base_score
        lost[channels.cpu().numpy()] = scores.lost.cpu().numpy()
    return Rises(rise, lost, passes)


def paying_batch(image: Tensor) -> int:
    """How many masked copies of a (C, H, W) image go through the network at once.

    On a CPU larger batches only cost memory: measured, images of over 512 x 512 px are fastest one by one.
    """
    room_px = CPU_BATCH_PX if image.device.type == "cpu" else GPU_BATCH_PX
    return max(1, room_px // (image.shape[1] * image.shape[2]))


def unit_range(maps: Tensor) -> Tensor:
    """(B, H, W) maps, each min-max scaled to 0..1."""
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return (maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny)


def weights_of(rise: FloatArray, kind: str) -> FloatArray:
    """(C,) channel weights of the (C,) rises S: max(S, 0), or their softmax."""
    if kind == "linear":
        return np.maximum(rise, 0)
    exponentials = np.exp(rise - rise.max())
    share: FloatArray = exponentials / exponentials.sum()
    return share


METHODS: Mapping[str, Method] = {"scorecam": scorecam}
