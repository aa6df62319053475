"""Where a map's mass lies: in the nodule (the energy-based pointing game), or in other nodules of the image.

    energy            value = sum of h in the nodule / sum of h          chance = a / n,          ceiling = 1
    energy-elsewhere  value = sum of h in the other nodules / sum of h   chance = |others| / n,   best = 0

h is cut below zero. The chance level is exact for any map whose pixels are exchangeable, constant ones too. An offset
of the whole map counts as mass, so maps are compared as their methods scale them.

Source: Wang 2020, Score-CAM, section 4.2; the same number is Arras' 2022 relevance mass accuracy (CLEVR-XAI).
"""

from __future__ import annotations

from collections.abc import Mapping

from lungct.game.rules.base import Rule, Score, none_because
from lungct.game.saliency import Saliency
from lungct.game.target import Target


def energy(saliency: Saliency, target: Target) -> Score:
    """Share of the map's mass inside the nodule."""
    if saliency.mass <= 0:
        return none_because("no positive value in the map")
    value = saliency.mass_in(target.inside_flat) / saliency.mass
    return Score(value, target.area / target.pixels, 1.0)


def energy_elsewhere(saliency: Saliency, target: Target) -> Score:
    """Share of the map's mass inside other nodules of the image; less is better."""
    if not len(target.others_flat):
        return none_because("no other true nodule in the image")
    if saliency.mass <= 0:
        return none_because("no positive value in the map")
    value = saliency.mass_in(target.others_flat) / saliency.mass
    return Score(value, len(target.others_flat) / target.pixels, 0.0)


RULES: Mapping[str, Rule] = {"energy": energy, "energy-elsewhere": energy_elsewhere}
