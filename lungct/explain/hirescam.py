"""HiResCAM: the gradient weighs every cell by itself, so the map is exactly what the head makes of the activations.

    map = ReLU(sum_k dy/dA_k . A_k)

Where the head is linear after the level, the cells of the map before the ReLU sum to y without its constant.

Source: Draelos & Carin 2021, arXiv:2011.08891, equation 3, there with y before the softmax (``--target logit``).
"""

from __future__ import annotations

from collections.abc import Mapping

from lungct.explain.base import Costing, Explanation, Method, MethodOptions, Subject
from lungct.explain.gradients import cost_by_gradients, explain_by_gradients
from lungct.explain.odam import combined


def hirescam(subject: Subject, options: MethodOptions) -> Explanation:
    """One map per detection, before the ReLU."""
    return explain_by_gradients(subject, options, combined)


METHODS: Mapping[str, Method] = {"hirescam": hirescam}
COSTS: Mapping[str, Costing] = {"hirescam": cost_by_gradients}
