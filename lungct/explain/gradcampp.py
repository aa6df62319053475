"""Grad-CAM++: activations weighted by their positive gradients, so that several objects of one kind all count.

    a_k = g_k^2 / (2 g_k^2 + (sum over cells A_k) g_k^3),   w_k = sum over cells of a_k ReLU(g_k),   map = ReLU(sum w A)

Source: Chattopadhay 2018, arXiv:1710.11063, equations 10-19, whose y is exp(logit), which leaves a_k as it is and
scales the map. pytorch-grad-cam adds 1e-6 to the denominator: detectors have gradients of 1e-4, whose square that
dwarfs, and the weights become others. Here a_k is 0 where the denominator is.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lungct.explain.base import Costing, Explanation, Method, MethodOptions, Subject
from lungct.explain.gradients import cost_by_gradients, explain_by_gradients


def weights_of(activations: Tensor, gradient: Tensor, added: float = 0.0) -> Tensor:
    """(C,) weights of (C, h, w) activations; ``added`` goes to the denominator of a_k."""
    total = activations.sum(dim=(1, 2), keepdim=True)
    denominator = 2 * gradient**2 + total * gradient**3 + added
    share = torch.where(denominator == 0, 0.0, gradient**2 / torch.where(denominator == 0, 1.0, denominator))
    weights: Tensor = (share * gradient.clamp_min(0)).sum(dim=(1, 2))
    return weights


def combined(activations: Tensor, gradient: Tensor) -> Tensor:
    """(h, w) sum of the weighted channels."""
    weighted: Tensor = torch.tensordot(weights_of(activations, gradient), activations, dims=1)
    return weighted


def gradcampp(subject: Subject, options: MethodOptions) -> Explanation:
    """One map per detection, before the ReLU."""
    return explain_by_gradients(subject, options, combined)


METHODS: Mapping[str, Method] = {"gradcampp": gradcampp}
COSTS: Mapping[str, Costing] = {"gradcampp": cost_by_gradients}
