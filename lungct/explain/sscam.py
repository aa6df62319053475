"""SS-CAM: Score-CAM whose scores are means over noise, on the mask (type 1) or on the masked image (type 2).

    type 1: S_k = mean_n f(X . (H_k + N(0, s^2))) - f(X_b)
    type 2: S_k = mean_n f(X . H_k + N(0, s^2)) - f(X_b)

Source: Naidu 2020, arXiv:2006.14255, sections 3.1 and 3.2, N = 35 and s = 2; the preset ``thesis`` has the .1 that the
first work on lung nodules ran with. The noise is in units of H and of X, both 0..1, and nothing is clipped. Each
channel and sample has noise of its own that follows from the seed, so that the map depends neither on the batch nor on
the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from lungct import registry
from lungct.explain.base import Cost, Costing, Explanation, Method, MethodOptions, Subject
from lungct.explain.masked_channels import cost_by_channels, explain_by_channels
from lungct.explain.scorecam import masked


def noise_on_masks(
    seed: int, sd: float, image: Tensor, base: Tensor, masks: Tensor, pairs: list[tuple[int, int]]
) -> Tensor:
    """Type 1: the mask is noisy, one value for all channels of the image."""
    return masked(image, base, masks + sd * noise(seed, pairs, masks.shape[1:]).to(masks), pairs)


def noise_on_images(
    seed: int, sd: float, image: Tensor, base: Tensor, masks: Tensor, pairs: list[tuple[int, int]]
) -> Tensor:
    """Type 2: the masked image is noisy."""
    return masked(image, base, masks, pairs) + sd * noise(seed, pairs, image.shape).to(image)


def noise(seed: int, pairs: list[tuple[int, int]], shape: tuple[int, ...]) -> Tensor:
    """(B, *shape) standard normal, each of its own (channel, sample)."""
    drawn = []
    for channel, sample in pairs:
        generator = torch.Generator().manual_seed(((seed * 1_000_003 + channel) * 1_000_003 + sample) % 2**63)
        drawn.append(torch.randn(shape, generator=generator))
    return torch.stack(drawn)


def sscam(type_: int, subject: Subject, options: MethodOptions) -> Explanation:
    """One weighted sum of activations per detection, before the ReLU."""
    count, sd = _setting(options)
    noisy = partial(noise_on_masks if type_ == 1 else noise_on_images, options.seed, sd)
    return explain_by_channels(subject, options, noisy, count, {"preset": options.preset, "samples": count, "sd": sd})


def _setting(options: MethodOptions) -> tuple[int, float]:
    count, sd = registry.SSCAM_PRESETS[options.preset]
    return options.repeats(options.samples, count, registry.LEAST_SAMPLES), sd


def _cost(subject: Subject, options: MethodOptions) -> Cost:
    return cost_by_channels(subject, options, _setting(options)[0])


METHODS: Mapping[str, Method] = {"sscam1": partial(sscam, 1), "sscam2": partial(sscam, 2)}
COSTS: Mapping[str, Costing] = {"sscam1": _cost, "sscam2": _cost}
