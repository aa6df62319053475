"""Evaluate detections against COCO truth: AP and AR over IoU, FROC over slices, counts, intervals, figures, files."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lungct.errors import InputError
from lungct.evaluation import bootstrap, coco_ap, froc
from lungct.evaluation.coco_ap import ALL_IOUS, ApResult
from lungct.evaluation.match import Matches, Pairs, greedy_match, pair_up
from lungct.io import atomic
from lungct.io.coco import CocoTruth, read_detections, read_truth
from lungct.io.manifest import sha256_of, write_manifest
from lungct.types import Detections, FloatArray

logger = logging.getLogger(__name__)

SCHEMA = "lungct.metrics/1"
SINGLE_IOUS = (0.1, 0.5, 0.75)
SPANS = ((0.5, 0.95), (0.05, 0.95))
FEWEST_PATIENTS = 2


@dataclass(frozen=True)
class EvaluateOptions:
    """How detections are judged.

    Attributes:
        iou_hit: IoU at which a detection hits a box in FROC and counts; its centre in the box is a hit too.
        score: the score at which true, false, missed and duplicate detections are counted.
        bootstrap: number of draws of patients for the 95 % intervals; 0 leaves them out.
        max_detections: best detections kept of a category on an image.
    """

    iou_hit: float = froc.IOU_HIT
    score: float = 0.5
    bootstrap: int = 1000
    seed: int = 0
    max_detections: int = 100


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All that is written: the ``lungct.metrics/1`` document, and what the figures are drawn from."""

    metrics: dict[str, Any]
    ap: ApResult
    curve: froc.FrocCurve
    band: tuple[FloatArray, FloatArray] | None


def read_pair(truth_path: Path, detections_path: Path) -> tuple[CocoTruth, list[Detections]]:
    """Read a truth with at least one true box, and the detections on it.

    Raises:
        InputError: see :func:`read_truth` and :func:`read_detections`; or no true box, so that nothing is defined.
    """
    truth = read_truth(truth_path)
    if all(annotation.iscrowd for annotation in truth.annotations):
        raise InputError.of(truth_path, "no true box in it", "neither AP nor sensitivity is defined without one")
    if any(annotation.id == 0 for annotation in truth.annotations):
        logger.warning(
            "%s: in AP a hit on annotation 0 counts as false, as in the COCO program; number from 1", truth_path
        )
    return truth, read_detections(detections_path, truth, np.float64)


def evaluate(
    truth_path: Path, detections_path: Path, out: Path, options: EvaluateOptions, *, overwrite: bool = False
) -> Evaluation:
    """Judge a detections file and write the ``evaluation/`` folder.

    Raises:
        InputError: see :func:`read_pair`.
        OutputExists: ``out`` must not be written.
    """
    atomic.check_replaceable(out, overwrite=overwrite, command="evaluate")
    truth, detections = read_pair(truth_path, detections_path)
    result = judge(truth, detections, options)
    inputs = {"truth_sha256": sha256_of(truth_path), "detections_sha256": sha256_of(detections_path)}
    with atomic.staged_folder(out, command="evaluate", overwrite=overwrite) as folder:
        atomic.write_json(folder / "metrics.json", result.metrics, indent=1)
        atomic.write_bytes(folder / "metrics.csv", _as_csv(measures(result.metrics)))
        _draw(folder, result)
        write_manifest(folder, "evaluate", {**asdict(options), **inputs})
    return result


def judge(truth: CocoTruth, detections: Sequence[Detections], options: EvaluateOptions | None = None) -> Evaluation:
    """Compute every measure of one split."""
    options = options or EvaluateOptions()
    pairs = pair_up(truth, detections, options.max_detections)
    matches = greedy_match(pairs, ALL_IOUS)
    ap = coco_ap.score_matches(pairs, matches, ALL_IOUS)
    finds = froc.find(pairs, options.iou_hit)
    curve = froc.tally(pairs, finds).curve
    ci95, band = _intervals(truth, pairs, matches, finds, options)
    shown = froc.corners(curve)
    metrics = {
        "schema": SCHEMA,
        **_sizes(truth, pairs),
        **_ap_part(ap),
        "ci95": ci95,
        "froc": {
            "unit": "slice",
            "iou_hit": options.iou_hit,
            "fp_per_image": shown.fp_per_image.tolist(),
            "sensitivity": shown.sensitivity.tolist(),
            "score": shown.score.tolist(),
            "at": {f"{rate:g}": value for rate, value in curve.at.items()},
            "mean": curve.mean,
        },
        "counts": _counts(pairs, finds, options.score),
    }
    return Evaluation(metrics, ap, shown, None if band is None else _along(shown, band))


def _sizes(truth: CocoTruth, pairs: Pairs) -> dict[str, int]:
    case_of = {image.id: image.case_id for image in truth.images}
    real = [annotation for annotation in truth.annotations if not annotation.iscrowd]
    named = {(case_of[one.image_id], one.attributes.get("nodule_id", f"#{one.id}")) for one in real}
    return {
        "images": len(truth.images),
        "patients": len({image.patient_id for image in truth.images}),
        "nodules": len(named),
        "boxes": len(real),
        "detections": len(pairs.score),
    }


def _ap_part(ap: ApResult) -> dict[str, Any]:
    spans = {f"{low:g}:{high:g}": (low, high) for low, high in SPANS}
    return {
        "ap": {f"{iou:g}": ap.ap[iou] for iou in SINGLE_IOUS}
        | {name: ap.mean_ap(*span) for name, span in spans.items()},
        "ar": {f"{iou:g}": ap.ar[iou] for iou in SINGLE_IOUS}
        | {name: ap.mean_ar(*span) for name, span in spans.items()},
        "ap_by_iou": {f"{iou:.2f}": value for iou, value in ap.ap.items()},
        "ar_by_iou": {f"{iou:.2f}": value for iou, value in ap.ar.items()},
        "pr50": {"recall": coco_ap.RECALLS.round(2).tolist(), "precision": ap.precision[0.5].tolist()},
    }


def _counts(pairs: Pairs, finds: froc.Finds, score: float) -> dict[str, float]:
    counts = froc.counts_at(pairs, finds, score)
    tp, fp, fn = counts["tp"], counts["fp"], counts["fn"]
    return {
        "score": score,
        **counts,
        "sensitivity": tp / (tp + fn),
        "precision": tp / max(tp + fp, 1),
        "f1": 2 * tp / (2 * tp + fp + fn),
    }


def _intervals(
    truth: CocoTruth, pairs: Pairs, matches: Matches, finds: froc.Finds, options: EvaluateOptions
) -> tuple[dict[str, list[float]], tuple[FloatArray, FloatArray] | None]:
    """95 % intervals by measure, and the band of the FROC curve; nothing from fewer than two patients."""
    patient_of = {image.id: image.patient_id for image in truth.images}
    patients = [patient_of[identifier] for identifier in pairs.image_ids]
    if options.bootstrap < 1 or len(set(patients)) < FEWEST_PATIENTS:
        return {}, None
    draws = bootstrap.draw_patients(patients, options.bootstrap, options.seed)
    first = ALL_IOUS.index(coco_ap.COCO_IOUS[0])
    upper = Matches(matches.truth_of[:, first:], matches.hit[:, first:], matches.false[:, first:], matches.counted)
    ap = bootstrap.ap_draws(pairs, upper, draws)
    curves = bootstrap.froc_draws(froc.tally(pairs, finds), draws, bootstrap.BAND_RATES)
    at_rates = curves[:, np.isin(bootstrap.BAND_RATES, froc.RATES)]
    ci95 = {
        "ap@0.5": list(bootstrap.interval(ap[:, 0])),
        "ap@0.5:0.95": list(bootstrap.interval(ap.mean(axis=1))),
        "froc_mean": list(bootstrap.interval(at_rates.mean(axis=1))),
    }
    return ci95, bootstrap.band(curves)


def _along(curve: froc.FrocCurve, band: tuple[FloatArray, FloatArray]) -> tuple[FloatArray, FloatArray]:
    low, high = (np.interp(curve.fp_per_image, bootstrap.BAND_RATES, edge) for edge in band)
    return low, high


def measures(metrics: Mapping[str, Any]) -> list[tuple[str, float, list[float]]]:
    """The document as rows of (measure, value, 95 % interval or an empty list)."""
    ci95 = metrics["ci95"]
    rows = [(f"{kind}@{iou}", value) for kind in ("ap", "ar") for iou, value in metrics[kind].items()]
    known = {name for name, _ in rows}
    for kind in ("ap", "ar"):
        every = ((f"{kind}@{float(iou):g}", value) for iou, value in metrics[f"{kind}_by_iou"].items())
        rows += [row for row in every if row[0] not in known]
    rows += [(f"sensitivity@{rate}fp", value) for rate, value in metrics["froc"]["at"].items()]
    rows += [("froc_mean", metrics["froc"]["mean"])]
    rows += list(metrics["counts"].items())
    return [(name, value, ci95.get(name, [])) for name, value in rows]


def _as_csv(rows: Sequence[tuple[str, float, list[float]]]) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("measure", "value", "low95", "high95"))
    writer.writerows((name, value, *(bounds or ("", ""))) for name, value, bounds in rows)
    return stream.getvalue().encode()


def _draw(folder: Path, result: Evaluation) -> None:
    from lungct.report import figure

    shown = {
        f"IoU {iou:g}, AP {result.ap.ap[iou]:.3f}": (coco_ap.RECALLS, result.ap.precision[iou]) for iou in SINGLE_IOUS
    }
    figure.precision_recall(folder / "precision_recall", shown)
    curve = result.curve
    figure.froc(folder / "froc", curve.fp_per_image, curve.sensitivity, at=curve.at, band=result.band, unit="slice")
    values = (np.fromiter(part.values(), float) for part in (result.ap.ap, result.ap.ar))
    figure.ap_over_iou(folder / "ap_over_iou", np.fromiter(result.ap.ap, float), *values)
