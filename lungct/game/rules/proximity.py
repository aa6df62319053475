"""How near the brightest a pixels are to the nodule of a pixels, measured in its own diameters.

    value = mean over T of exp(-d(pixel) / D),  T the a brightest pixels, D the longest side of the box
    chance = mean over the image of exp(-d / D),  ceiling = 1

The inverse-distance rule's distance in the nodule's own unit, so that a map displaced by one diameter loses as much
beside a nodule of 3 mm as beside one of 30 mm, and one in the opposite lung scores nothing.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Mapping

from lungct.game.rules.base import Rule, Score
from lungct.game.saliency import Saliency
from lungct.game.target import Target


def proximity(saliency: Saliency, target: Target) -> Score:
    """Mean of exp(-distance / diameter) over the top a pixels."""
    near, chance = target.nearness
    return Score(saliency.mean_over_top(target.area, near), chance, 1.0)


RULES: Mapping[str, Rule] = {"proximity": proximity}
