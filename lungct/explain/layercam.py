"""LayerCAM: what a small rise of each cell would add, and only where it would add.

    map = ReLU(sum_k ReLU(dy/dA_k) . A_k)

Source: Jiang 2021, LayerCAM, IEEE Transactions on Image Processing 30, equations 4-6.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lungct.explain.base import Costing, Explanation, Method, MethodOptions, Subject
from lungct.explain.gradients import cost_by_gradients, explain_by_gradients


def combined(activations: Tensor, gradient: Tensor) -> Tensor:
    """(h, w) sum over the channels of positive gradient x activation."""
    return (gradient.clamp_min(0) * activations).sum(dim=0)


def layercam(subject: Subject, options: MethodOptions) -> Explanation:
    """One map per detection, before the ReLU."""
    return explain_by_gradients(subject, options, combined)


METHODS: Mapping[str, Method] = {"layercam": layercam}
COSTS: Mapping[str, Costing] = {"layercam": cost_by_gradients}
