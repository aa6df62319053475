"""Which share of the k brightest pixels lies in the nodule: k its own area, or one k for all.

    relevance-rank  k = a     value = |T n B| / k,  chance = a / n,  ceiling = 1
    top-k           k = 100   value = |T n B| / k,  chance = a / n,  ceiling = min(1, a / k)

Source: Arras 2022, CLEVR-XAI, relevance rank accuracy; Theiner 2022, Interpretable semantic photo geolocation, top-k
intersection (k = 1,000 there, on photographs; 100 pixels are the disc of a nodule of 8 mm at .7 mm a pixel).
"""

from __future__ import annotations

from collections.abc import Mapping

from lungct.game.rules.base import Rule, Score
from lungct.game.saliency import Saliency
from lungct.game.target import Target

TOP_K = 100


def relevance_rank(saliency: Saliency, target: Target) -> Score:
    """Share of the top a pixels inside the nodule of a pixels."""
    return Score(saliency.share_of_top(target.area, target.inside_flat), target.area / target.pixels, 1.0)


def top_k(saliency: Saliency, target: Target) -> Score:
    """Share of the top 100 pixels inside the nodule."""
    count = min(TOP_K, target.pixels)
    value = saliency.share_of_top(count, target.inside_flat)
    return Score(value, target.area / target.pixels, min(1.0, target.area / count))


RULES: Mapping[str, Rule] = {"relevance-rank": relevance_rank, "top-k": top_k}
