"""Localisation error: how many millimetres the brightest pixel lies from the nodule's centre; less is better.

    value = mean over the brightest pixels (several where they tie) of |pixel - centre| in mm
    chance = mean of the same over the image,  best = the pixel nearest to the centre

Source: the mean error of landmark localisation; ties share, as in the pointing game. It grows with the nodule's size
where the map is displaced by diameters, so normalised scores of different sizes differ.
"""

from __future__ import annotations

from collections.abc import Mapping

from lungct.game.rules.base import Rule, Score, none_because
from lungct.game.saliency import Saliency
from lungct.game.target import Target


def error_mm(saliency: Saliency, target: Target) -> Score:
    """Distance of the brightest pixels to the nodule's centre."""
    off = target.off_centre_mm
    if off is None:
        return none_because("no pixel spacing")
    return Score(float(off[saliency.brightest].mean()), *target.off_centre_levels_mm)


RULES: Mapping[str, Rule] = {"error-mm": error_mm}
