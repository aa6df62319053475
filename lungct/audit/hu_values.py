"""Whether voxels are Hounsfield units at all: stored values, other scales, 8-bit gray."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from lungct.audit.finding import Finding
from lungct.types import Volume

AIR_HU = (-1100, -700)
LEAST_AIR = 0.02
"""Share of a scan's voxels that are air or lung; a chest has a third or more, and a scale that is off has none."""
HIGHEST_LOW_HU = -100
"""A chest without a voxel below this has no air in it: its values are stored values, or gray."""
GRAY_LEVELS = 256
GRAY_SPREAD_HU = 300
SAMPLE = 200_000


def measure(volume: Volume) -> dict[str, float]:
    """Lowest and highest value; share of air and number of values in a sample."""
    hu = volume.hu
    step = max(1, round((hu.size / SAMPLE) ** (1 / 3)))
    sample = hu[::step, ::step, ::step] if len(hu) > 1 else hu
    return {
        "low_hu": float(np.nanmin(hu)),
        "high_hu": float(np.nanmax(hu)),
        "air_share": float(np.mean((sample >= AIR_HU[0]) & (sample <= AIR_HU[1]))),
        "hu_values": float(len(np.unique(sample))),
    }


def judge(name: str, facts: Mapping[str, float], *, is_scan: bool) -> Iterator[Finding]:
    """Findings of one scan or image."""
    low, high = facts["low_hu"], facts["high_hu"]
    if low == high:
        if not is_scan:
            yield Finding("constant-image", name, "the only value, HU", low)
        return
    if low >= HIGHEST_LOW_HU:
        yield Finding("not-hu", name, "lowest value, HU", low, HIGHEST_LOW_HU)
    elif is_scan and facts["air_share"] < LEAST_AIR:
        measured = f"share of voxels from {AIR_HU[0]} to {AIR_HU[1]} HU"
        yield Finding("not-hu", name, measured, facts["air_share"], LEAST_AIR)
    if is_scan and is_gray(facts):
        yield Finding("gray-8bit", name, "different values", int(facts["hu_values"]), GRAY_LEVELS)


def judge_all(facts: Mapping[str, Mapping[str, float]]) -> Iterator[Finding]:
    """8-bit gray among 2D images: one finding for all of a data set, for it is in how they were made."""
    gray = [name for name, one in facts.items() if is_gray(one)]
    if gray:
        yield Finding("gray-8bit", gray[0], f"such images of {len(facts)}", len(gray))


def is_gray(facts: Mapping[str, float]) -> bool:
    """Whether values come in so few steps over so wide a range that they were 8-bit gray once."""
    return facts["hu_values"] <= GRAY_LEVELS and facts["high_hu"] - facts["low_hu"] > GRAY_SPREAD_HU
