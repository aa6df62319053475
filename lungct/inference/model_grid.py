"""A scan brought to the grid and the HU range that a model was trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lungct.errors import InputError
from lungct.registry import HU_CLIP
from lungct.types import Grid, Triple, Volume

if TYPE_CHECKING:
    from lungct.models.card import ModelCard

SAME_SPACING = 1e-4


def at_model_grid(volume: Volume, card: ModelCard, name: str, override: bool = False) -> Volume:
    """A scan as the model was trained on: index axes towards left, posterior, superior; its spacing and HU range.

    A scan that has the spacing already is not interpolated again. It keeps its own distance of slices where the model,
    made on single 2D images, has none.

    Raises:
        InputError: the model does not know its spacing, and ``override`` (keep the scan's own) is false.
    """
    from lungct.ct.geometry import to_canonical
    from lungct.ct.resample import resample

    canonical = to_canonical(volume)
    grid = model_grid(canonical.grid, card, name, override)
    return resample(canonical, None if grid == canonical.grid else grid.spacing_mm_zyx, hu_range(card))


def model_grid(own: Grid, card: ModelCard, name: str, override: bool = False) -> Grid:
    """The grid of :func:`at_model_grid` for a scan on the LPS-canonical grid ``own``.

    Raises:
        InputError: as there.
    """
    from lungct.ct.geometry import resampled_grid

    if card.spacing_mm is None:
        if override:
            return own
        hint = "add --override to run it at the scan's own spacing"
        raise InputError.of(
            name, "the model was trained on slices of unknown spacing, so a scan cannot be fitted", hint
        )
    wanted = _spacing_mm_zyx(card.spacing_mm, own.spacing_mm_zyx)
    same = np.allclose(wanted, own.spacing_mm_zyx, rtol=SAME_SPACING, atol=0)
    return own if same else resampled_grid(own, wanted)


def hu_range(card: ModelCard) -> tuple[int, int]:
    """The HU that a scan is clipped to for a model, in whole numbers."""
    low, high = card.hu_clip or (min(HU_CLIP[0], card.hu_window[0]), max(HU_CLIP[1], card.hu_window[1]))
    return math.floor(low), math.ceil(high)


def _spacing_mm_zyx(trained_mm: Sequence[float], own_mm_zyx: Triple) -> Triple:
    """A model's spacing (x, y, z) turned round, the slice distance being the scan's own where the model has (x, y)."""
    z_mm = trained_mm[2] if len(trained_mm) == 3 else own_mm_zyx[0]
    return z_mm, trained_mm[1], trained_mm[0]
