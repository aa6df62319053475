"""How concentrated a map is, wherever: its Gini index and its entropy; neither knows of a nodule or of the model.

    sparseness = sum_i (2 i - n - 1) h_(i) / (n sum h),  h_(1) <= ... <= h_(n):  0 constant, 1 a single pixel
    complexity = -sum_i p_i ln p_i,  p = h / sum h:  0 a single pixel, ln n constant

h is cut below zero. There is no chance level: a map can be concentrated on nonsense.

Source: Chalasani 2020, Concise explanations of neural networks using adversarial training (Gini, of Hurley & Rickard
2009); Bhatt 2020, Evaluating and aggregating feature-based model explanations (entropy).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import xlogy

from lungct.game.rules.base import NAN, Rule, Score, none_because
from lungct.game.saliency import Saliency
from lungct.game.target import Target

NO_MASS = "no positive value in the map"


def sparseness(saliency: Saliency, target: Target) -> Score:
    """Gini index of the positive values."""
    if saliency.mass <= 0:
        return none_because(NO_MASS)
    values, sizes, pixels = np.maximum(saliency.values, 0), saliency.sizes.astype(np.float64), target.pixels
    lower = pixels - saliency.brighter[1:]  # pixels of lower levels: ranks begin after them
    weight = sizes * (2 * lower + sizes - pixels)
    return Score(float((weight * values).sum() / (pixels * (sizes * values).sum())), NAN, NAN)


def complexity(saliency: Saliency, target: Target) -> Score:
    """Entropy, in nats, of the positive values' shares."""
    if saliency.mass <= 0:
        return none_because(NO_MASS)
    values = np.maximum(saliency.values, 0)
    share = values / (saliency.sizes * values).sum()
    return Score(float(-(saliency.sizes * xlogy(share, share)).sum()), NAN, NAN)


RULES: Mapping[str, Rule] = {"sparseness": sparseness, "complexity": complexity}
