"""IS-CAM: Score-CAM whose scores are means along the way from nothing to the whole mask.

    S_k = (1 / N) sum_{i=1..N} f(X . (i / N) H_k) - f(X_b)

Source: Naidu 2020, arXiv:2010.03023, equations 5 and 6, N = 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from lungct import registry
from lungct.explain.base import Cost, Costing, Explanation, Method, MethodOptions, Subject
from lungct.explain.masked_channels import cost_by_channels, explain_by_channels
from lungct.explain.scorecam import masked


def partly_masked(count: int, image: Tensor, base: Tensor, masks: Tensor, pairs: list[tuple[int, int]]) -> Tensor:
    """The image under the i-th part of each mask."""
    parts = masks.new_tensor([(sample + 1) / count for _, sample in pairs])
    return masked(image, base, masks * parts[:, None, None], pairs)


def iscam(subject: Subject, options: MethodOptions) -> Explanation:
    """One weighted sum of activations per detection, before the ReLU."""
    count = _samples(options)
    return explain_by_channels(subject, options, partial(partly_masked, count), count, {"samples": count})


def _samples(options: MethodOptions) -> int:
    return options.repeats(options.samples, registry.ISCAM_SAMPLES, registry.LEAST_SAMPLES)


def _cost(subject: Subject, options: MethodOptions) -> Cost:
    return cost_by_channels(subject, options, _samples(options))


METHODS: Mapping[str, Method] = {"iscam": iscam}
COSTS: Mapping[str, Costing] = {"iscam": _cost}
