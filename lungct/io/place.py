"""Refuses a spacing or an origin that no scan has, whatever the file format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lungct.errors import InputError
from lungct.types import FloatArray

LEAST_SPACING_MM = 0.01
LARGEST_SPACING_MM = 100.0
FARTHEST_MM = 1e6


def check_place(spacing_mm: Sequence[float] | FloatArray, origin_mm: Sequence[float] | FloatArray, path: Path) -> None:
    """Pass what can be a scan's place in the world, in any order of axes.

    Raises:
        InputError: a spacing or origin that is not finite, or beyond any scanner.
    """
    spacing, origin = np.asarray(spacing_mm, dtype=np.float64), np.asarray(origin_mm, dtype=np.float64)
    if not (np.isfinite(spacing).all() and np.isfinite(origin).all()):
        raise InputError.of(path, "its spacing or origin is not a finite number")
    if spacing.min() < LEAST_SPACING_MM or spacing.max() > LARGEST_SPACING_MM:
        found = " x ".join(f"{one:g}" for one in spacing)
        raise InputError.of(path, f"a voxel of {found} mm", f"expected {LEAST_SPACING_MM:g} to {LARGEST_SPACING_MM:g}")
    if np.abs(origin).max() > FARTHEST_MM:
        raise InputError.of(path, "its origin lies farther away than a kilometre")
