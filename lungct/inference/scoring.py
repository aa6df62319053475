"""Which detections of a model are kept at an operating point, and what their scores become."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lungct.errors import InputError
from lungct.inference.options import PredictOptions, folder_of
from lungct.io.calibration import FILE_NAME as CALIBRATION
from lungct.io.calibration import Calibration, read_calibration
from lungct.io.manifest import sha256_of
from lungct.io.operating_points import FILE_NAME as OPERATING_POINTS
from lungct.io.operating_points import FOUND_BY, OperatingPoints, read_operating_points
from lungct.io.weights_header import weights_of
from lungct.registry import WITHIN
from lungct.types import Detections

logger = logging.getLogger("lungct")


@dataclass(frozen=True)
class Scoring:
    """What happens to scores after detection.

    Attributes:
        least: lowest score that is kept; None keeps all.
        least_by: the map that scores go through before they are held against ``least``; None holds them as they are.
        shown_by: the map that the scores that are written go through; None writes them as they are.
    """

    least: float | None = None
    least_by: Calibration | None = None
    shown_by: Calibration | None = None

    def keeps(self, score: float) -> bool:
        """Whether a score, as the model gives it, is kept."""
        if self.least is None:
            return True
        given = np.asarray([score], dtype=np.float64)
        return bool((given if self.least_by is None else self.least_by.apply(given))[0] >= self.least)

    def shown(self, found: Detections) -> Detections:
        """The same detections with the scores that are written."""
        return found if self.shown_by is None else replace(found, scores=self.shown_by.apply(found.scores))

    def at_least(self, found: Detections) -> Detections:
        """The detections of a slice that are kept."""
        mine = np.array([self.keeps(float(one)) for one in found.scores], dtype=bool)
        return replace(
            found, boxes_xyxy_px=found.boxes_xyxy_px[mine], scores=found.scores[mine], labels=found.labels[mine]
        )


def scoring_of(run: Path, options: PredictOptions, *, unit: str) -> Scoring:
    """What the options ask of scores, by the calibration and the operating points that lie in the run folder.

    Args:
        unit: what is searched, ``scan`` or ``slice``.

    Raises:
        InputError: what is asked for is not there, broken, of another model or of the other unit.
    """
    folder = folder_of(run)
    shown_by = read_calibration(folder / CALIBRATION) if options.calibrated else None
    if options.fp_rate is None:
        return Scoring(shown_by=shown_by)
    path = folder / OPERATING_POINTS
    points = read_operating_points(path)
    if points.unit != unit:
        found = f"its rates are false positives per {points.unit}, and {unit}s are searched"
        raise InputError.of(path, found, f"evaluate what predict finds on {unit}s with --store-into")
    if points.measured_on.get("model_sha256", "") not in ("", sha256_of(weights_of(run))):
        raise InputError.of(path, "its points are of other weights", "evaluate this model's detections")
    _check_found_alike(path, points, options, unit)
    least_by = read_calibration(folder / CALIBRATION) if points.calibration else None
    if least_by is not None and least_by.method != points.calibration:
        found = f"its scores went through a map by {points.calibration}, {CALIBRATION} is one by {least_by.method}"
        raise InputError.of(path, found, "evaluate again with --store-into")
    point = points.at(options.fp_rate)
    if not point.reached:
        logger.warning("all that was evaluated makes fewer than %g false positives per %s", point.fp_per_unit, unit)
    return Scoring(point.score, least_by, shown_by)


FLAGS: Mapping[str, str] = {
    "tta": "--tta",
    "ensemble_sha256": "--ensemble",
    "nodule_score": "--nodule-score",
    "searched": "--searched",
    "within": "--within",
    "link": "--link-by, --link-overlap or --gap-mm",
    "join": "--join-overlap or --join-gap-mm",
    "min_extent_mm": "--min-extent-mm",
    "drop_outliers": "--drop-outliers",
}
"""Of each of ``FOUND_BY`` the flags that say it."""
BEFORE: Mapping[str, str] = {"within": WITHIN[1]}
"""What scans were searched by before there was a choice."""
OF_SCANS = tuple(name for name in FOUND_BY if name not in ("tta", "ensemble_sha256"))
"""Those that only whole scans have a use for."""


def _check_found_alike(path: Path, points: OperatingPoints, options: PredictOptions, unit: str) -> None:
    """Marks of several views or models together, or linked or scored in another way, have other points."""
    unsaid, wanted = _found_by(PredictOptions(), unit), _found_by(options, unit)
    if any(name in points.measured_on for name in OF_SCANS):
        unsaid |= BEFORE
    for name, value in wanted.items():
        if points.measured_on.get(name, unsaid[name]) != value:
            hint = "evaluate what predict finds with these options, and --store-into"
            if unit == "slice":
                hint = "its points are taken to be of one model looking once; choose --score-threshold by an evaluation"
            raise InputError.of(path, f"its points were measured with another {FLAGS[name]}", hint)


def _found_by(options: PredictOptions, unit: str) -> dict[str, Any]:
    """``FOUND_BY`` as the options have it; what only makes nodules is left out for slices."""
    together = {"tta": options.tta, "ensemble_sha256": [sha256_of(weights_of(one)) for one in options.ensemble]}
    if unit == "slice":
        return together
    stated = asdict(options)
    return {**together, **{name: stated[name] for name in OF_SCANS}}
