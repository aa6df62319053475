"""ODAM: where the activations of the detection's own pyramid level, as they are, raise its target.

    map = ReLU(sum_k dy/dA_k . A_k)

y is the detection's score, or one number of its box (``--target box-w``): the map of one detection says nothing of
another, for the RoI or the anchor's window is all that the gradient reaches.

Source: Zhao & Chan 2023, arXiv:2304.06354, equations 2 and 3, without smoothing of the weights. It is HiResCAM's
equation; what makes it ODAM is y, the score at the detection's own place, and the level that place is read from.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lungct.explain.base import Costing, Explanation, Method, MethodOptions, Subject
from lungct.explain.gradients import cost_by_gradients, explain_by_gradients


def combined(activations: Tensor, gradient: Tensor) -> Tensor:
    """(h, w) sum over the channels of gradient x activation."""
    return (gradient * activations).sum(dim=0)


def odam(subject: Subject, options: MethodOptions) -> Explanation:
    """One map per detection, before the ReLU."""
    return explain_by_gradients(subject, options, combined)


METHODS: Mapping[str, Method] = {"odam": odam}
COSTS: Mapping[str, Costing] = {"odam": cost_by_gradients}
