"""The pointing game: is the brightest pixel in the nodule?

    value = share of the brightest pixels (there are several where they tie) in the nodule
    chance = a / n,  ceiling = 1

Source: Zhang 2018, Top-down neural attention by excitation backprop, section 5.1. There a hit may miss by 15 pixels,
wider than most nodules; here by none. Ties share, as a random choice among them would on average.
"""

from __future__ import annotations

from collections.abc import Mapping

from lungct.game.rules.base import Rule, Score
from lungct.game.saliency import Saliency
from lungct.game.target import Target


def pointing(saliency: Saliency, target: Target) -> Score:
    """Share of the brightest pixels inside the nodule."""
    value = saliency.share_of_top(int(saliency.sizes[0]), target.inside_flat)
    return Score(value, target.area / target.pixels, 1.0)


RULES: Mapping[str, Rule] = {"pointing": pointing}
