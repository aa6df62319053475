"""Evaluate detections on slices against COCO truth: AP and AR over IoU, FROC over slices, counts, intervals."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lungct.errors import InputError
from lungct.evaluation import bootstrap, coco_ap, froc
from lungct.evaluation.coco_ap import ALL_IOUS, ApResult
from lungct.evaluation.judged import SCHEMA, EvaluateOptions, Evaluation, draw_froc, draws_of, froc_part, intervals
from lungct.evaluation.match import greedy_match
from lungct.evaluation.pairs import Pairs, pair_up
from lungct.io.coco import CocoTruth, read_detections, read_truth
from lungct.types import Detections, FloatArray

logger = logging.getLogger(__name__)

SINGLE_IOUS = (0.1, 0.5, 0.75)
SPANS = ((0.5, 0.95), (0.05, 0.95))


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


def judge_slices(
    truth: CocoTruth, detections: Sequence[Detections], options: EvaluateOptions | None = None
) -> Evaluation:
    """Compute every measure of one split."""
    options = options or EvaluateOptions()
    pairs = pair_up(truth, detections, options.max_detections)
    matches = greedy_match(pairs, ALL_IOUS)
    ap = coco_ap.score_matches(pairs, matches, ALL_IOUS)
    finds = froc.find(pairs, options.iou_hit)
    patient_of = {image.id: image.patient_id for image in truth.images}
    draws = draws_of([patient_of[identifier] for identifier in pairs.image_ids], options)
    curve, froc_values = froc_part(froc.tally(pairs, finds), "slice", draws)
    values = {} if draws is None else {**_ap_values(bootstrap.ap_draws(pairs, matches, draws)), **froc_values}
    metrics = {
        "schema": SCHEMA,
        "kind": "slices",
        **_sizes(truth, pairs),
        **_ap_part(ap),
        "ci95": intervals(values),
        "froc": {**curve, "iou_hit": options.iou_hit},
        "counts": _counts(pairs, finds, options.score),
    }
    figures = {
        "precision_recall": functools.partial(_draw_precision_recall, ap=ap),
        "froc": functools.partial(draw_froc, part=metrics["froc"]),
        "ap_over_iou": functools.partial(_draw_ap_over_iou, ap=ap),
    }
    return Evaluation(metrics, values, figures)


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


def _ap_values(drawn: FloatArray) -> dict[str, FloatArray]:
    """Draws of each headline AP, from (B, T) of every threshold."""
    ious = np.asarray(ALL_IOUS)
    single = {f"ap@{iou:g}": drawn[:, int(np.abs(ious - iou).argmin())] for iou in SINGLE_IOUS}
    inside = {span: (ious >= span[0] - 1e-9) & (ious <= span[1] + 1e-9) for span in SPANS}
    return single | {f"ap@{low:g}:{high:g}": drawn[:, inside[low, high]].mean(axis=1) for low, high in SPANS}


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


def _draw_precision_recall(path_stem: Path, ap: ApResult) -> None:
    from lungct.report import figure

    shown = {f"IoU {iou:g}, AP {ap.ap[iou]:.3f}": (coco_ap.RECALLS, ap.precision[iou]) for iou in SINGLE_IOUS}
    figure.precision_recall(path_stem, shown)


def _draw_ap_over_iou(path_stem: Path, ap: ApResult) -> None:
    from lungct.report import figure

    values = (np.fromiter(part.values(), float) for part in (ap.ap, ap.ar))
    figure.ap_over_iou(path_stem, np.fromiter(ap.ap, float), *values)
