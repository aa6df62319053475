"""Make a detection's map anew, on a changed slice or by a changed network."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from lungct import registry
from lungct.explain.base import finish, load_method
from lungct.explain.network import Network
from lungct.explain.targets import open_image
from lungct.game.faithfulness.base import Case, Heats
from lungct.types import FloatArray


def can_be_made(case: Case) -> bool:
    """Whether the map is of a method of ours, and not of another tool or the true mask."""
    return case.method in registry.METHODS


def made_again(case: Case, network: Network, image_hu: NDArray[np.int16], change: Hashable) -> FloatArray:
    """(Y, X) float32 map of the same detection in 0..1, made as the first was; zeros where there is none.

    A method makes the maps of all of an image's detections at once; they are kept under what was changed.
    """
    if change not in case.again:
        case.again[change] = _all_again(case, network, image_hu)
    again: FloatArray = case.again[change][case.number].astype(np.float32)
    return again


def _all_again(case: Case, network: Network, image_hu: NDArray[np.int16]) -> Heats:
    made, spacing = case.made, case.subject.spacing_mm_yx
    subject = open_image(
        network,
        image_hu,
        case.subject.detections,
        level=made.level,
        scorer=made.scorer,
        target=made.target,
        missed=case.missed,
        spacing_mm_xy=None if spacing is None else (spacing[1], spacing[0]),
    )
    return finish(load_method(case.method)(subject, made.options), subject.geometry)[0]


def rank_correlation(a: FloatArray, b: FloatArray) -> float:
    """Spearman's correlation of two maps; 0 where one of them is constant, which has nothing in common with any."""
    if a.size == 0:
        return 0.0
    ranks = [rankdata(one.ravel()) for one in (a, b)]
    spread = [float(one.std()) for one in ranks]
    if min(spread) == 0:
        return 0.0
    return float(((ranks[0] - ranks[0].mean()) * (ranks[1] - ranks[1].mean())).mean() / (spread[0] * spread[1]))
