"""What the gradient family shares: each detection's target derived by the activations of the level it is read from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from lungct.explain.base import Cost, Explanation, MethodOptions, Subject, head_of
from lungct.types import FloatArray

Combining: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(C, h, w) activations and gradients -> (h, w) map before the ReLU, all float64."""


def explain_by_gradients(subject: Subject, options: MethodOptions, combined: Combining) -> Explanation:
    """One map per detection, before the ReLU; ``combined`` is what sets a method apart."""
    raw: list[FloatArray] = [np.empty(0)] * len(subject.detections)
    value, flat = np.zeros(len(raw)), np.zeros(len(raw), dtype=bool)
    for number, activations, gradient, y in gradients_of(subject):
        raw[number] = combined(activations.double(), gradient.double()).float().cpu().numpy()
        value[number], flat[number] = y, not bool(gradient.any())
    facts: dict[str, Any] = {"target_value": np.round(value, 6).tolist(), "zero_gradient": flat.tolist()}
    return Explanation(raw, subject.layers, rectify=True, record=facts)


def gradients_of(subject: Subject) -> Iterator[tuple[int, Tensor, Tensor, float]]:
    """Of every detection its number, the (C, h, w) activations, dy/dA, and y.

    Each goes through the head by itself: the level of one detection holds nothing of another's gradient, and memory
    does not grow with their number.

    Raises:
        UsageError: the target has no gradient, see :func:`head_of`.
    """
    head = head_of(subject)
    for level, mine in subject.by_level():
        for number in mine.tolist():
            activations = subject.activations[level].detach().clone().requires_grad_()
            with torch.enable_grad():
                y = head(level, activations[None], np.array([number]))[0, 0]
                (gradient,) = torch.autograd.grad(y, activations, allow_unused=True) if y.requires_grad else (None,)
            given = torch.zeros_like(activations) if gradient is None else gradient
            yield number, activations.detach(), given, float(y.detach())


def cost_by_gradients(subject: Subject, _: MethodOptions) -> Cost:
    """A pass through the head and back per detection."""
    return Cost(heads=len(subject.detections), backwards=len(subject.detections))
