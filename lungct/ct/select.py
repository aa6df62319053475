"""Which slices of a nodule to keep: its mass profile along z and the four rules over it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungct.ct.boxes import Footprint
from lungct.errors import UsageError
from lungct.registry import SELECTIONS
from lungct.types import BoolArray, FloatArray

LOWEST_HU, HU_SPAN = -1000.0, 1500.0


@dataclass(frozen=True)
class Rule:
    """One rule and its numbers; those of other rules have no effect.

    Attributes:
        method: ``all``, ``threshold``, ``statistical`` or ``sliding-window``.
        fraction: threshold: least share of the peak mass.
        min_hu: threshold: least mean HU as well; None asks for none.
        k: statistical: how many standard deviations below the mean mass a slice may lie.
        window_slices: sliding-window: length; None is half the span, at least 3.
    """

    method: str = "threshold"
    fraction: float = 0.5
    min_hu: float | None = None
    k: float = 1.0
    window_slices: int | None = None

    def __post_init__(self) -> None:
        if self.method not in SELECTIONS:
            raise ValueError(f"{self.method!r} is none of {', '.join(SELECTIONS)}")


_NUMBER_OF = {"fraction": "threshold", "min_hu": "threshold", "k": "statistical", "window_slices": "sliding-window"}


def rule_of(method: str, **numbers: float | None) -> Rule:
    """The rule with those numbers that are given; None keeps the default.

    Raises:
        UsageError: a number of another rule.
    """
    given: dict[str, Any] = {name: value for name, value in numbers.items() if value is not None}
    for name in given:
        if _NUMBER_OF[name] != method:
            flag = "--" + name.replace("_", "-")
            raise UsageError(f"{flag} belongs to --method {_NUMBER_OF[name]}, not {method}")
    return replace(Rule(method), **given)


@dataclass(frozen=True, eq=False)
class Profile:
    """(N,) float64 each, over the N slices that a nodule spans: mass m(z) in 0..1, and mean HU."""

    mass: FloatArray
    mean_hu: FloatArray


def profile(hu: NDArray[Any], place: Footprint) -> Profile:
    """Mass and mean HU of a nodule slice by slice.

    m(z) is the mean over the ellipse inscribed in the nodule's 2D box of clip((HU + 1000) / 1500, 0, 1). The ellipse
    holds the pixels whose centres lie in it, and at least the pixel nearest to its centre; parts outside the image are
    left out.

    Args:
        hu: (Z, Y, X) HU of the scan.
        place: the nodule on the scan's grid.
    """
    rows, columns, inside = _ellipse(place, hu.shape[1], hu.shape[2])
    values = hu[place.z_first : place.z_last + 1, rows, columns][:, inside].astype(np.float64)
    mass = np.clip((values - LOWEST_HU) / HU_SPAN, 0, 1)
    return Profile(mass.mean(axis=1), values.mean(axis=1))


def _ellipse(place: Footprint, height: int, width: int) -> tuple[slice, slice, BoolArray]:
    (cx, cy, _), (half_x, half_y, _) = place.center_index, place.half_index
    x1, y1, x2, y2 = place.box_xyxy_px
    rows = slice(int(y1), min(int(np.ceil(y2)), height))
    columns = slice(int(x1), min(int(np.ceil(x2)), width))
    y = (np.arange(rows.start, rows.stop) - cy)[:, None] / half_y
    x = (np.arange(columns.start, columns.stop) - cx)[None, :] / half_x
    distance = x**2 + y**2
    return rows, columns, (distance <= 1) | (distance == distance.min())


def least_mass(found: Profile, rule: Rule) -> float | None:
    """The mass that a slice needs to be kept; None where the rule asks for none."""
    if rule.method == "threshold":
        return float(rule.fraction * found.mass.max())
    if rule.method == "statistical":
        return float(found.mass.mean() - rule.k * found.mass.std())
    return None


def select(found: Profile, rule: Rule) -> BoolArray:
    """(N,) which slices of a nodule's span to keep; the slice of peak mass always is."""
    mass, least = found.mass, least_mass(found, rule)
    if rule.method == "sliding-window":
        keep = _heaviest_window(mass, rule.window_slices)
    else:
        keep = np.ones(len(mass), dtype=bool) if least is None else mass >= least
    if rule.method == "threshold" and rule.min_hu is not None:
        keep &= found.mean_hu >= rule.min_hu
    keep[int(np.argmax(mass))] = True
    return keep


def _heaviest_window(mass: FloatArray, window_slices: int | None) -> BoolArray:
    """Of windows of equal mass the one whose middle is nearest to the span's middle."""
    span = len(mass)
    width = min(span, max(3, span // 2) if window_slices is None else window_slices)
    total = np.convolve(mass, np.ones(width), mode="valid")
    best = np.flatnonzero(total >= total.max() - 1e-12)
    start = int(best[np.argmin(np.abs(best - (span - width) / 2))])
    keep = np.zeros(span, dtype=bool)
    keep[start : start + width] = True
    return keep
