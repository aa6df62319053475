"""The noise filter: which images are among the noisiest, by the variance of their Laplacian.

As published: the variance of each image's Laplacian is computed, and the images above a percentile of all are taken
out as the noisiest; 98 takes out 2 %. Read as numpy's percentile with linear interpolation and "above" as strictly
above, 2,363 values give 24, 48, 71, 95, 119, 142, 166, 189, 213 and 237 images at the percentiles 99 down to 90, the
counts of the publication for nodule images; its text says that 2 % are 71 images, which its table gives for 97.

Not published are kernel and range. Taken here: the 4-neighbour Laplacian with mirrored borders, OpenCV's default, of
HU clipped to -1000..400 and scaled to 0..1. There it was applied after gamma and CLAHE, here to plain HU, so that the
order does not depend on an enhancement. Of a scan the mean of 16 slices counts.

A percentile always flags somebody, so it is a note, and of fewer than 50 images nothing is said at 98.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lungct.audit.finding import Finding
from lungct.types import Volume

NAME = "laplacian_variance"
RANGE_HU = (-1000.0, 400.0)
SLICES = 16


def measure(volume: Volume) -> dict[str, float]:
    """Mean over up to 16 slices of the variance of their Laplacian, in units of the range squared."""
    chosen = np.unique(np.linspace(0, len(volume.hu) - 1, min(SLICES, len(volume.hu))).astype(int))
    low, high = RANGE_HU
    values = []
    for z in chosen:
        plane = np.pad((np.clip(volume.hu[z].astype(np.float32), low, high) - low) / (high - low), 1, mode="reflect")
        around = plane[:-2, 1:-1] + plane[2:, 1:-1] + plane[1:-1, :-2] + plane[1:-1, 2:]
        values.append(float((around - 4 * plane[1:-1, 1:-1]).var(dtype=np.float64)))
    return {NAME: float(np.mean(values))}


def judge_all(facts: Mapping[str, Mapping[str, float]], percentile: float) -> Iterator[Finding]:
    """The images of a data set above the percentile of their Laplacian variance."""
    values = {name: one[NAME] for name, one in facts.items() if NAME in one}
    noisy, limit = above_percentile(list(values.values()), percentile)
    for name, found in zip(values, noisy, strict=True):
        if found:
            measured = f"Laplacian variance, percentile {percentile:g}"
            yield Finding("noise", name, measured, values[name], limit)


def above_percentile(values: Sequence[float], percentile: float) -> tuple[list[bool], float]:
    """Which values lie above the percentile of all, and it; none where they are too few to have such a percentile."""
    if percentile >= 100 or len(values) < math.ceil(100 / (100 - percentile) - 1e-9):
        return [False] * len(values), math.inf
    limit = float(np.percentile(np.asarray(values, dtype=np.float64), percentile))
    return [value > limit for value in values], limit
