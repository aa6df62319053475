"""The scores at which a detector makes so many false positives, and their storing into the detector's run folder.

The score of a rate lies in the middle between the lowest score that keeps to the rate and the next lower one, so that
rounding a score changes nothing. Choose it on a validation split: a result on the split it was chosen on flatters.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lungct.errors import InputError, OutputExists, UsageError
from lungct.evaluation.bootstrap import BAND_RATES
from lungct.evaluation.froc import FrocCurve, Tally
from lungct.io.atomic import MANIFEST
from lungct.io.calibration import FILE_NAME as CALIBRATION
from lungct.io.calibration import Calibration, read_calibration, write_calibration
from lungct.io.manifest import read_manifest, sha256_of
from lungct.io.operating_points import FILE_NAME, FOUND_BY, OperatingPoint, OperatingPoints, write_operating_points
from lungct.io.weights_header import WEIGHTS

logger = logging.getLogger(__name__)


def operating_points(tally: Tally) -> tuple[OperatingPoint, ...]:
    """A point at each rate of 1/16 to 8 false positives per image or scan, ten to the octave."""
    curve = tally.curve
    last = np.searchsorted(curve.fp_per_image, BAND_RATES * (1 + 1e-12), side="right") - 1
    points = []
    for rate, place in zip(BAND_RATES.tolist(), last.tolist(), strict=True):
        reached = bool(curve.fp_per_image[-1] >= rate)
        points.append(OperatingPoint(rate, _score_at(curve, place), float(curve.sensitivity[place]), reached))
    return tuple(points)


def _score_at(curve: FrocCurve, place: int) -> float:
    """A score that parts the points of a curve up to a place from those after it."""
    if place == 0:
        return float(np.nextafter(curve.score[0], np.inf))  # the first point is that of no detection at all
    after = min(place + 1, len(curve.score) - 1)
    return float(curve.score[place] + curve.score[after]) / 2


def brought_through(tally: Tally, calibration: Calibration) -> Tally:
    """The same tally with every score brought through the map."""
    scores = calibration.apply(tally.found_score), calibration.apply(tally.false_score)
    return replace(tally, found_score=scores[0], false_score=scores[1])


def check_store(run: Path, *, overwrite: bool, calibration: Path | None, recalibrate: bool) -> None:
    """Refuse, before any work is done, a run folder that nothing can be stored into.

    Raises:
        InputError: no folder with a model in it; a map that cannot be read.
        UsageError: two maps of the scores, one on the other.
        OutputExists: points or a map are there and would be replaced.
    """
    if not (run / WEIGHTS).is_file():
        raise InputError.of(run, f"no {WEIGHTS} in it", "name the run folder of lungct train")
    if calibration is not None and recalibrate:
        raise UsageError("--calibration and --recalibrate: a model carries one map", "give one of them")
    if overwrite:
        return
    own = run / CALIBRATION
    if own.exists() and (recalibrate or _another(calibration, own)):
        raise OutputExists(f"{own} exists", "add --overwrite to replace it")
    if (run / FILE_NAME).exists():
        raise OutputExists(f"{run / FILE_NAME} exists", "add --overwrite to replace it")


def _another(calibration: Path | None, own: Path) -> bool:
    return calibration is not None and read_calibration(calibration) != read_calibration(own)


def found_by(run: Path, detections: Path) -> dict[str, Any]:
    """How the marks in a folder of ``lungct predict`` were found, as its manifest tells; empty where there is none.

    Args:
        run: the run folder that the points are stored into.

    Raises:
        InputError: another model than that of ``run`` found them, or their scores are not the model's own.
    """
    if not (detections.parent / MANIFEST).is_file():
        return {}
    made = read_manifest(detections.parent)[0]
    stated = made.get("options", {})
    if made.get("command") != "predict" or "model_sha256" not in stated:
        return {}
    if stated["model_sha256"] != sha256_of(run / WEIGHTS):
        raise InputError.of(detections, f"was found by another model than that of {run}", "name that one's run folder")
    if (stated.get("scoring") or {}).get("shown_by") is not None:
        hint = "evaluate what predict finds without --calibrated; --calibration stores a map beside the points"
        raise InputError.of(detections, "has calibrated scores, and points are made of a model's own", hint)
    return {name: stated[name] for name in FOUND_BY if name in stated}


def store(run: Path, points: OperatingPoints, calibration: Calibration | None) -> None:
    """Write the points, and the map where there is one, into a run folder.

    Where the folder holds a map already and none is given, the scores are still taken for the model's own, as predict
    writes them unless it is asked otherwise.
    """
    if calibration is not None:
        write_calibration(run / CALIBRATION, calibration)
    elif (run / CALIBRATION).exists():
        logger.warning(
            "%s: not used; the scores are taken for those of predict without --calibrated", run / CALIBRATION
        )
    facts = {**points.measured_on, "model_sha256": sha256_of(run / WEIGHTS)}
    method = "" if calibration is None else calibration.method
    write_operating_points(run / FILE_NAME, replace(points, calibration=method, measured_on=facts))
