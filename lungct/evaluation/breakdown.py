"""Sensitivity by what is known of a nodule: its diameter, its malignancy, its slice's thickness, any attribute.

Of the true boxes (or nodules) of one level, the share found at scores of at least t. The scores t are those of the
whole set, so the levels of one attribute stand at the same operating point and their numbers of boxes add up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lungct.evaluation.bootstrap import Draws, interval
from lungct.registry import SIZE_EDGES_MM, THICKNESS_EDGES_MM
from lungct.types import BoolArray, FloatArray, IntArray

MOST_LEVELS = 12
FEW_NUMBERS = 8
UNKNOWN = "unknown"
EDGES_MM: Mapping[str, tuple[float, ...]] = {"diameter_mm": SIZE_EDGES_MM, "slice_thickness_mm": THICKNESS_EDGES_MM}
RATING_EDGES = (1.5, 2.5, 3.5, 4.5)
"""Where a mean of readers' ratings from 1 to 5 is rounded to another rating."""
TEXTURES = ((2.0, "ground-glass"), (4.0, "part-solid"))
"""LIDC rates texture from 1 (non-solid) over 3 (part-solid) to 5 (solid); a mean of ratings goes to the nearest."""
_NAMES_SOMEBODY = re.compile(r"(^|[_\s-])(u?ids?|name|names|date|file)($|[_\s-])|uid|filename", re.IGNORECASE)
_LIST = re.compile(r"[\[({]")


def breakdown(
    attributes: Mapping[str, Sequence[Any]],
    found_score: FloatArray,
    patient: IntArray,
    score: float,
    rate_scores: Sequence[float],
    draws: Draws | None,
) -> list[dict[str, Any]]:
    """One row per level of each attribute.

    Args:
        attributes: name -> value of each of the G true boxes, None or an empty string where it is not known. Names
            that may identify somebody, and attributes of one level or of more than 12 words, are left out.
        found_score: (G,) best score of a detection that hits the box, -inf where none does.
        patient: (G,) number of the box's patient, as the draws number them.
        score: at which ``sensitivity`` is read.
        rate_scores: scores of the seven operating points, over which ``froc_mean`` is the mean.
        draws: for the intervals; None leaves them out.

    Returns:
        rows of attribute, level, n, patients, sensitivity, sensitivity_ci95, froc_mean, froc_mean_ci95.
    """
    rows = []
    hit = found_score[:, None] >= np.asarray([score, *rate_scores])
    for name, values in attributes.items():
        if _NAMES_SOMEBODY.search(name):
            continue
        levels = levels_of(name, values)
        for level in dict.fromkeys(sorted(levels, key=_order_of(levels))):
            mine = np.asarray([one == level for one in levels])
            rows.append({"attribute": name, "level": level, **_row(hit[mine], patient[mine], draws)})
    return rows


def _row(hit: BoolArray, patient: IntArray, draws: Draws | None) -> dict[str, Any]:
    share = hit.mean(axis=0)
    row: dict[str, Any] = {
        "n": len(hit),
        "patients": len(np.unique(patient)),
        "sensitivity": float(share[0]),
        "sensitivity_ci95": None,
        "froc_mean": float(share[1:].mean()),
        "froc_mean_ci95": None,
    }
    if draws is not None and row["patients"] > 1:
        drawn = share_draws(hit.astype(np.float64), patient, draws)
        row["sensitivity_ci95"] = list(interval(drawn[:, 0]))
        row["froc_mean_ci95"] = list(interval(drawn[:, 1:].mean(axis=1)))
    return row


def share_draws(value: FloatArray, patient: IntArray, draws: Draws) -> FloatArray:
    """(B, K) mean of (G, K) values over the boxes of each draw; NaN where a draw holds none."""
    per_patient = np.zeros((draws.weight.shape[1], value.shape[1] + 1))
    np.add.at(per_patient, patient, np.c_[value, np.ones(len(value))])
    total = draws.weight.astype(np.float64) @ per_patient
    count = total[:, -1:]
    empty = np.full((len(total), value.shape[1]), np.nan)
    mean: FloatArray = np.divide(total[:, :-1], count, out=empty, where=count > 0)
    return mean


def levels_of(name: str, values: Sequence[Any]) -> list[str]:
    """The level of each value: diameter, slice thickness and ratings by fixed classes, other numbers by quartile.

    All empty strings where the attribute says nothing: one level alone, or too many words.
    """
    known = [one for one in values if not _missing(one)]
    numbers = _as_numbers(known)
    if numbers is None:
        texts = [UNKNOWN if _missing(one) else str(one).strip() for one in values]
    else:
        texts = _number_levels(name, values, numbers)
    different = set(texts) - {UNKNOWN}
    useless = len(different) < 2 or len(different) > MOST_LEVELS or any(_LIST.match(one) for one in different)
    return [] if useless else texts


def _as_numbers(known: Sequence[Any]) -> FloatArray | None:
    if not known or any(isinstance(one, bool) for one in known):
        return None
    try:
        numbers = np.asarray([float(one) for one in known])
    except (TypeError, ValueError):
        return None
    return numbers if np.isfinite(numbers).all() else None


def _number_levels(name: str, values: Sequence[Any], numbers: FloatArray) -> list[str]:
    different = np.unique(numbers)
    rated = numbers.min() >= 1 and numbers.max() <= 5
    if name == "texture" and rated:
        return [UNKNOWN if _missing(one) else _texture(float(one)) for one in values]
    if len(different) <= FEW_NUMBERS and name not in EDGES_MM:
        return [UNKNOWN if _missing(one) else f"{float(one):g}" for one in values]
    edges = EDGES_MM.get(name) or (RATING_EDGES if name == "malignancy" and rated else ())
    edges = edges or tuple(np.unique(np.percentile(numbers, (25, 50, 75))).tolist())
    return [UNKNOWN if _missing(one) else between(float(one), edges) for one in values]


def _texture(rating: float) -> str:
    (first, below), (last, between_them) = TEXTURES
    return below if rating < first else between_them if rating <= last else "solid"


def _missing(value: Any) -> bool:
    return value is None or str(value).strip() == ""


def between(value: float, edges: Sequence[float]) -> str:
    """``below 4``, ``4 to 6``, ... ``30 and more``: which of the classes that begin at ``edges`` a number is in."""
    place = int(np.searchsorted(edges, value, side="right"))
    if place == 0:
        return f"below {edges[0]:g}"
    return f"{edges[-1]:g} and more" if place == len(edges) else f"{edges[place - 1]:g} to {edges[place]:g}"


def _order_of(levels: Sequence[str]) -> Any:
    """Sort key: by the first number in a level, ``below`` first, words after numbers, unknown last."""

    def key(level: str) -> tuple[bool, bool, float, bool, str]:
        number = re.search(r"-?\d+(\.\d+)?(e[+-]?\d+)?", level)
        value = float(number.group()) if number else 0.0
        return level == UNKNOWN, number is None, value, not level.startswith("below"), level

    return key
