"""Score-CAM: each channel weighs as much as the score that is kept where it alone lets the image through.

    S_k = f(X . H_k) - f(X_b),   map = ReLU(sum_k w(S_k) A_k)

Source: Wang 2020, arXiv:1910.01279, equations 4-6. There w is the softmax of S, which for scores in 0..1 keeps all
weights within a factor e, so that the map is nearly the mean activation: ``--weights softmax`` does that, and
``linear``, ours by default, takes w = max(S, 0); ``prob`` takes f(X . H_k) itself. A masked pixel becomes X_b, which is
air, the image's mean, its blur, or lung.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lungct.explain.base import Cost, Costing, Explanation, Method, MethodOptions, Subject
from lungct.explain.masked_channels import cost_by_channels, explain_by_channels


def masked(image: Tensor, base: Tensor, masks: Tensor, _: list[tuple[int, int]]) -> Tensor:
    """X . H + X_b . (1 - H), (B, C, H, W)."""
    return torch.lerp(base[None], image[None], masks[:, None])


def scorecam(subject: Subject, options: MethodOptions) -> Explanation:
    """One weighted sum of activations per detection, before the ReLU."""
    return explain_by_channels(subject, options, masked, 1, {})


def _cost(subject: Subject, options: MethodOptions) -> Cost:
    return cost_by_channels(subject, options, 1)


METHODS: Mapping[str, Method] = {"scorecam": scorecam}
COSTS: Mapping[str, Costing] = {"scorecam": _cost}
