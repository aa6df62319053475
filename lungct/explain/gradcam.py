"""Grad-CAM: activations weighted by their mean gradient.

    w_k = mean over cells of dy/dA_k,   map = ReLU(sum_k w_k A_k)

On a detector the mean runs over a level of which one detection moves some 5 %; the weights are those of the detection,
the map lights whatever has its features, another nodule too.

Source: Selvaraju 2017, arXiv:1610.02391, equations 1 and 2, there with y before the softmax (``--target logit``).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lungct.explain.base import Costing, Explanation, Method, MethodOptions, Subject
from lungct.explain.gradients import cost_by_gradients, explain_by_gradients


def combined(activations: Tensor, gradient: Tensor) -> Tensor:
    """(h, w) sum of the channels, each by its mean gradient."""
    weighted: Tensor = torch.tensordot(gradient.mean(dim=(1, 2)), activations, dims=1)
    return weighted


def gradcam(subject: Subject, options: MethodOptions) -> Explanation:
    """One map per detection, before the ReLU."""
    return explain_by_gradients(subject, options, combined)


METHODS: Mapping[str, Method] = {"gradcam": gradcam}
COSTS: Mapping[str, Costing] = {"gradcam": cost_by_gradients}
