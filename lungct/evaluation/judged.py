"""What every evaluation takes and gives, of slices and of scans: options, the metrics document, draws and figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lungct.errors import UsageError
from lungct.evaluation import bootstrap, calibration
from lungct.evaluation.bootstrap import Draws
from lungct.evaluation.froc import IOU_HIT, RATES, Tally, corners
from lungct.io.calibration import Calibration
from lungct.io.draws import DrawnMeasures
from lungct.types import BoolArray, FloatArray, IntArray

SCHEMA = "lungct.metrics/2"
FEWEST_PATIENTS = 2
RADIUS = "radius"


@dataclass(frozen=True)
class EvaluateOptions:
    """How detections are judged.

    Attributes:
        iou_hit: IoU at which a detection hits a box in FROC and counts; its centre in the box is a hit too.
        score: the score at which true, false, missed and duplicate detections are counted.
        bootstrap: number of draws of patients for the 95 % intervals; 0 leaves them out.
        max_detections: best detections kept of a category on an image, or marks on a scan.
        recalibrate: fit a map of the scores by this method; empty for none.
        gallery: false positives, and missed boxes, that are shown, where the slices are at hand.
        hit: what hits a nodule on a scan: ``radius``, a distance as ``5mm``, an IoU of boxes as ``iou0.3``.
    """

    iou_hit: float = IOU_HIT
    score: float = 0.5
    bootstrap: int = 1000
    seed: int = 0
    max_detections: int = 100
    recalibrate: str = ""
    hit: str = RADIUS
    gallery: int = 0


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All that is written.

    Attributes:
        metrics: the ``lungct.metrics/2`` document.
        draws: measure -> (B,) its value in each draw of patients, under the names of ``metrics["ci95"]``.
        figures: file stem -> draws it as ``.png`` and ``.svg``.
        tally: finds and false positives, which operating points are read from.
        calibration: fitted on these detections, where that was asked for.
    """

    metrics: dict[str, Any]
    draws: DrawnMeasures
    figures: Mapping[str, Callable[[Path], None]]
    tally: Tally
    calibration: Calibration | None = None


def draws_of(patients: list[str], options: EvaluateOptions) -> Draws | None:
    """The draws of patients, None where none are wanted or there are fewer than two patients."""
    if options.bootstrap < 1 or len(set(patients)) < FEWEST_PATIENTS:
        return None
    return bootstrap.draw_patients(patients, options.bootstrap, options.seed)


def intervals(values: Mapping[str, FloatArray]) -> dict[str, list[float]]:
    """Measure -> its 95 % interval, without the measures of which no draw has a value."""
    return {name: list(bootstrap.interval(one)) for name, one in values.items() if np.isfinite(one).any()}


@dataclass(frozen=True, eq=False)
class Scored:
    """What a calibration is judged on: (N,) scores, whether true, patient; (N, 4) boxes over their images or None."""

    score: FloatArray
    true: BoolArray
    patient: IntArray
    box_share: FloatArray | None = None


def calibrated_part(
    scored: Scored, draws: Draws | None, method: str
) -> tuple[dict[str, Any], dict[str, FloatArray], Calibration | None]:
    """The ``calibration`` entry of the document, the draws of its measures, and the map that was asked for.

    Raises:
        UsageError: a map is asked for, and there is no score or one outside 0..1.
    """
    part = calibration.calibration_part(scored.score, scored.true, scored.box_share)
    if not part:
        if method:
            raise UsageError("scores can be recalibrated only where there are any and all are in 0..1")
        return {}, {}, None
    drawn = {} if draws is None else {"ece": calibration.ece_draws(scored.score, scored.true, scored.patient, draws)}
    return part, drawn, calibration.fit(method, scored.score, scored.true) if method else None


def draw_reliability(path_stem: Path, part: Mapping[str, Any]) -> None:
    """Draw the ``calibration`` entry of a document."""
    from lungct.report import evaluation_figures

    evaluation_figures.reliability(path_stem, part["score"], part["share"], part["count"], ece=part["ece"])


def froc_part(tally: Tally, unit: str, draws: Draws | None) -> tuple[dict[str, Any], dict[str, FloatArray]]:
    """The ``froc`` entry of the document, and the draws of its measures.

    Of the entry ``at`` is the sensitivity at each rate of false positives per ``unit``, ``mean`` their mean,
    ``score_at`` the score at each rate, ``band`` the 95 % band of the curve.
    """
    curve = tally.curve
    shown = corners(curve)
    part: dict[str, Any] = {
        "unit": unit,
        "fp_per_image": shown.fp_per_image.tolist(),
        "sensitivity": shown.sensitivity.tolist(),
        "score": shown.score.tolist(),
        "at": {f"{rate:g}": value for rate, value in curve.at.items()},
        "mean": curve.mean,
        "score_at": {f"{rate:g}": value for rate, value in curve.score_at.items()},
    }
    if draws is None:
        return part, {}
    drawn = bootstrap.froc_draws(tally, draws, bootstrap.BAND_RATES)
    low, high = bootstrap.band(drawn)
    part["band"] = {"fp_per_image": bootstrap.BAND_RATES.tolist(), "low": low.tolist(), "high": high.tolist()}
    at_rates = drawn[:, np.isin(bootstrap.BAND_RATES, RATES)]
    values = {f"sensitivity@{rate:g}fp": at_rates[:, place] for place, rate in enumerate(RATES)}
    return part, {**values, "froc_mean": at_rates.mean(axis=1)}


def draw_froc(path_stem: Path, part: Mapping[str, Any]) -> None:
    """Draw the ``froc`` entry of a document."""
    from lungct.report import evaluation_figures

    rates = np.asarray(part["fp_per_image"])
    band = part.get("band")
    edges = (np.asarray(band["fp_per_image"]), np.asarray(band["low"]), np.asarray(band["high"])) if band else None
    at = {float(rate): value for rate, value in part["at"].items()}
    evaluation_figures.froc(path_stem, rates, np.asarray(part["sensitivity"]), at=at, band=edges, unit=part["unit"])
