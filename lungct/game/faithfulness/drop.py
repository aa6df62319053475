"""What is left of the score where only the map lets the image through: average drop and increase.

    average-drop  max(0, y - o) / y,  o the score of X . H + (1 - H) . 0, y that of X;  0 at best
    increase      1 where o > y, else 0

Averaged over detections these are the published percentages. H is the map, min-max scaled.

Source: Chattopadhay 2018, Grad-CAM++, section 5.1.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lungct.game.faithfulness.base import Case


def drop(case: Case) -> Mapping[str, float]:
    """Both from one pass."""
    heatmap = case.heatmap.astype(np.float32)
    low, high = float(heatmap.min()), float(heatmap.max())
    if high <= low or case.score <= 0:
        return {"average-drop": float("nan"), "increase": float("nan")}
    left = float(case.scores([case.subject.image * case.on_input((heatmap - low) / (high - low))])[0])
    return {"average-drop": max(0.0, case.score - left) / case.score, "increase": float(left > case.score)}


MEASURE = drop
