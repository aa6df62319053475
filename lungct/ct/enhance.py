"""Contrast and noise of slices: gamma, CLAHE and a bilateral filter within a HU window, in HU again afterwards."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lungct.ct.clahe import clahe
from lungct.registry import ENHANCEMENTS
from lungct.types import IntArray

TILES = 8
BILATERAL_PX = 1.5


@dataclass(frozen=True)
class Enhancement:
    """What is done to a slice, in this order; None leaves a step out.

    Attributes:
        gamma: exponent of the 0..1 gray; above 1 darkens the lung.
        clahe: clip limit, on 8 x 8 tiles.
        bilateral_hu: difference in HU beyond which the filter takes neighbours for another tissue.
    """

    gamma: float | None = None
    clahe: float | None = None
    bilateral_hu: float | None = None

    @classmethod
    def of(cls, preset: str | None, **numbers: float | None) -> Enhancement:
        """A preset of ``ENHANCEMENTS`` or nothing, with those ``numbers`` that are not None in place of its own."""
        given = {name: value for name, value in numbers.items() if value is not None}
        return cls(**{**(ENHANCEMENTS[preset] if preset else {}), **given})

    @property
    def does_nothing(self) -> bool:
        """Whether slices come out as they went in."""
        return self == Enhancement()


def enhance(hu: NDArray[np.int16], window_hu: tuple[int, int], how: Enhancement) -> NDArray[np.int16]:
    """(Y, X) int16 HU, clipped to the window, enhanced, and in the window's HU again.

    The window LO..HI becomes gray 0..1 by (HU - LO) / (HI - LO); gamma raises that to a power, CLAHE equalises it;
    LO + (HI - LO) x gray is HU again, which the bilateral filter smooths. Rounded at the end only.
    """
    low, high = window_hu
    levels = np.clip(hu.astype(np.int32), low, high) - low
    gray = np.linspace(0, 1, high - low + 1) ** (1.0 if how.gamma is None else how.gamma)
    plane: NDArray[np.float32]
    if how.clahe is None:
        plane = gray.astype(np.float32)[levels]
    else:
        plane = clahe(levels, gray * 255, how.clahe, TILES)
        plane /= 255
    plane *= high - low
    plane += low
    if how.bilateral_hu is not None:
        plane = bilateral(plane, how.bilateral_hu, BILATERAL_PX)
    return np.rint(plane).astype(np.int16)


def bilateral(plane: NDArray[np.float32], sigma_hu: float, sigma_px: float) -> NDArray[np.float32]:
    """(Y, X) float32: the mean of the pixels within 2 ``sigma_px``, weighted by Gaussians of distance and difference.

    Beyond the border the image is mirrored.

    Source: Tomasi and Manduchi 1998; the round neighbourhood is that of OpenCV's ``bilateralFilter``.
    """
    height, width = plane.shape
    reach = math.ceil(2 * sigma_px)
    padded = np.pad(plane, reach, mode="reflect")
    total, weights = plane.copy(), np.ones_like(plane)
    weight = np.empty_like(plane)
    for dy, dx in _round_neighbourhood(reach):
        neighbour = padded[reach + dy : reach + dy + height, reach + dx : reach + dx + width]
        np.subtract(neighbour, plane, out=weight)
        weight *= weight
        weight *= -0.5 / sigma_hu**2
        weight -= (dy**2 + dx**2) * 0.5 / sigma_px**2
        np.exp(weight, out=weight)
        weights += weight
        weight *= neighbour
        total += weight
    total /= weights
    return total


def _round_neighbourhood(reach: int) -> IntArray:
    steps = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1).T
    square = (steps**2).sum(axis=1)
    return np.asarray(steps[(square > 0) & (square <= reach**2)])
