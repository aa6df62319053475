"""Evaluate detections on slices against COCO truth: AP and AR over IoU, FROC over slices, counts, intervals."""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lungct.errors import InputError
from lungct.evaluation import bootstrap, box_errors, coco_ap, error_split, froc, gallery
from lungct.evaluation.bootstrap import Draws
from lungct.evaluation.breakdown import breakdown
from lungct.evaluation.coco_ap import ALL_IOUS, COCO_IOUS, ApResult, mean_between
from lungct.evaluation.coco_summary import coco_summary
from lungct.evaluation.judged import (
    SCHEMA,
    EvaluateOptions,
    Evaluation,
    Scored,
    calibrated_part,
    draw_froc,
    draw_reliability,
    draws_of,
    froc_part,
    intervals,
)
from lungct.evaluation.match import UNMATCHED, Matches, greedy_match
from lungct.evaluation.other_ap import THRESHOLD_IOU, threshold_ap, voc_ap
from lungct.evaluation.pairs import Pairs, pair_up
from lungct.evaluation.size_classes import by_size, class_intervals
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth, read_detections, read_truth
from lungct.io.draws import DrawnMeasures, pairing
from lungct.types import BoolArray, Detections, FloatArray

logger = logging.getLogger(__name__)

LIKELY_IOU = 0.5
SINGLE_IOUS = (0.1, 0.5, 0.75)
SPANS = ((0.5, 0.95), (0.05, 0.95))


def read_pair(truth_path: Path, detections_path: Path) -> tuple[CocoTruth, list[Detections]]:
    """Read a truth with at least one true box, and the detections on it.

    Raises:
        InputError: see :func:`read_truth` and :func:`read_detections`; or no true box, so that nothing is defined; or
            boxes that are corners, or shares of the image.
    """
    truth = read_truth(truth_path)
    if all(annotation.iscrowd for annotation in truth.annotations):
        raise InputError.of(truth_path, "no true box in it", "neither AP nor sensitivity is defined without one")
    if any(annotation.id == 0 for annotation in truth.annotations):
        logger.warning(
            "%s: in AP a hit on annotation 0 counts as false, as in the COCO program; number from 1", truth_path
        )
    detections = read_detections(detections_path, truth, np.float64)
    _refuse_corners(detections_path, truth, detections)
    _refuse_shares(detections_path, truth, detections)
    return truth, detections


def _refuse_corners(path: Path, truth: CocoTruth, detections: Sequence[Detections]) -> None:
    """Refuse boxes that can all be two corners, and that hit the true boxes only if they are read so."""
    corners = [
        np.c_[one.boxes_xyxy_px[:, :2], one.boxes_xyxy_px[:, 2:] - one.boxes_xyxy_px[:, :2]] for one in detections
    ]
    if not any(map(len, corners)) or any((boxes[:, 2:] <= boxes[:, :2]).any() for boxes in corners):
        return
    as_they_are, as_corners = _on_true_boxes(truth, detections, corners)
    if as_corners > 2 * as_they_are:
        problem = f"its boxes look like [x1, y1, x2, y2]: read so, {as_corners} lie on a true box, else {as_they_are}"
        raise InputError.of(path, problem, "write [x, y, width, height]")


def _refuse_shares(path: Path, truth: CocoTruth, detections: Sequence[Detections]) -> None:
    """Refuse boxes that all lie in the first pixel, and that hit true boxes if they are read as shares of the image."""
    if not any(map(len, detections)) or any((one.boxes_xyxy_px > 1).any() for one in detections):
        return
    scaled = [
        one.boxes_xyxy_px * np.tile([image.width, image.height], 2)
        for one, image in zip(detections, truth.images, strict=True)
    ]
    as_they_are, as_shares = _on_true_boxes(truth, detections, scaled)
    if as_shares > as_they_are:
        problem = f"its boxes look normalised: read so, {as_shares} lie on a true box, else {as_they_are}"
        raise InputError.of(path, problem, "write [x, y, width, height] in pixels, not as shares of the image")


def _on_true_boxes(truth: CocoTruth, detections: Sequence[Detections], other: Sequence[FloatArray]) -> tuple[int, int]:
    """How many pairs of a detection and a true box overlap, as the boxes are and with others in their place."""
    others = [replace(one, boxes_xyxy_px=boxes) for one, boxes in zip(detections, other, strict=True)]
    first, second = (int((pair_up(truth, some).iou >= LIKELY_IOU).sum()) for some in (detections, others))
    return first, second


def judge_slices(
    truth: CocoTruth, detections: Sequence[Detections], options: EvaluateOptions | None = None
) -> Evaluation:
    """Compute every measure of one split."""
    options = options or EvaluateOptions()
    pairs = pair_up(truth, detections, options.max_detections)
    matches = greedy_match(pairs, ALL_IOUS)
    ap = coco_ap.score_matches(pairs, matches, ALL_IOUS)
    finds = froc.find(pairs, options.iou_hit)
    tally = froc.tally(pairs, finds)
    patient_of = {image.id: image.patient_id for image in truth.images}
    patients = [patient_of[identifier] for identifier in pairs.image_ids]
    draws = draws_of(patients, options)
    curve, values = froc_part(tally, "slice", draws)
    if draws is not None:
        values = {**_ap_values(pairs, matches, draws), **values, **_count_values(pairs, finds, options.score, draws)}
    calibration, ece, fitted = calibrated_part(_scored(pairs, truth, patients, options), draws, options.recalibrate)
    values = {**values, **ece}
    metrics = {
        "schema": SCHEMA,
        "kind": "slices",
        **_sizes(truth, pairs),
        **_ap_part(ap),
        "ci95": intervals(values),
        "froc": {**curve, "iou_hit": options.iou_hit},
        "counts": _counts(pairs, finds, options.score),
        "coco": {name: None if np.isnan(one) else one for name, one in coco_summary(pairs).items()},
        "by_category": _by_category(ap, truth, pairs, draws),
        "by_size": by_size(pairs, truth, draws),
        "other_ap": _other_ap(pairs),
        "area_ratios": box_errors.area_ratios(pairs, options.iou_hit, options.score),
        "confusion": _confusion(pairs, truth, options),
        "errors": error_split.error_costs(pairs, error_split.split_errors(pairs)),
        "calibration": calibration,
        "breakdown": breakdown(
            attributes_of(truth, finds.counted),
            finds.found_score[finds.counted],
            np.unique(patients, return_inverse=True)[1][tally.truth_image],
            options.score,
            list(tally.curve.score_at.values()),
            draws,
        ),
    }
    figures: dict[str, Callable[[Path], None]] = {
        "precision_recall": functools.partial(_draw_precision_recall, ap=ap),
        "froc": functools.partial(draw_froc, part=metrics["froc"]),
        "ap_over_iou": functools.partial(_draw_ap_over_iou, ap=ap),
        **gallery.sheets(pairs, finds, truth, score=options.score, count=options.gallery),
    }
    if calibration:
        figures["reliability"] = functools.partial(draw_reliability, part=calibration)
    drawn = DrawnMeasures(values, pairing(patients, options.bootstrap, options.seed))
    return Evaluation(metrics, drawn, figures, tally, fitted)


def _scored(pairs: Pairs, truth: CocoTruth, patients: Sequence[str], options: EvaluateOptions) -> Scored:
    """The detections that are no crowd's; true are those that take a box at IoU >= the hit's, one to one."""
    truth_of = greedy_match(pairs, (options.iou_hit,)).truth_of[:, 0]
    taken = truth_of != UNMATCHED
    judged = ~(taken & np.r_[pairs.crowd, False][truth_of])
    size_of = {image.id: (image.width, image.height) for image in truth.images}
    image = pairs.detections.image[judged]
    side = np.asarray([size_of[identifier] for identifier in pairs.image_ids], dtype=np.float64)[image]
    low, high = np.split(pairs.detections.box_xyxy_px[judged], 2, axis=1)
    share = np.concatenate([(low + high) / 2 / side, (high - low) / side], axis=1)
    patient = np.unique(patients, return_inverse=True)[1][image]
    return Scored(pairs.score[judged], taken[judged], patient, share)


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
    return {
        "ap": _headline(ap.ap),
        "ar": _headline(ap.ar),
        "ap_by_iou": {f"{iou:.2f}": value for iou, value in ap.ap.items()},
        "ar_by_iou": {f"{iou:.2f}": value for iou, value in ap.ar.items()},
        "pr50": {"recall": coco_ap.RECALLS.round(2).tolist(), "precision": ap.precision[0.5].tolist()},
    }


def _headline(by_iou: Mapping[float, float]) -> dict[str, float]:
    spans = {f"{low:g}:{high:g}": mean_between(by_iou, low, high) for low, high in SPANS}
    return {f"{iou:g}": by_iou[iou] for iou in SINGLE_IOUS} | spans


def _ap_values(pairs: Pairs, matches: Matches, draws: Draws) -> dict[str, FloatArray]:
    """Draws of each headline AP and AR."""
    ious = np.asarray(ALL_IOUS)
    values = {}
    for kind, drawn in zip(("ap", "ar"), bootstrap.ap_draws(pairs, matches, draws), strict=True):
        for iou in SINGLE_IOUS:
            values[f"{kind}@{iou:g}"] = drawn[:, int(np.abs(ious - iou).argmin())]
        for low, high in SPANS:
            inside = (ious >= low - 1e-9) & (ious <= high + 1e-9)
            values[f"{kind}@{low:g}:{high:g}"] = drawn[:, inside].mean(axis=1)
    return values


def _count_values(pairs: Pairs, finds: froc.Finds, score: float, draws: Draws) -> dict[str, FloatArray]:
    """Draws of sensitivity, precision and F1 at the score."""
    images = {
        "found": pairs.truth.image[finds.counted & (finds.found_score >= score)],
        "true": pairs.truth.image[finds.counted],
        "false": pairs.detections.image[finds.false & (pairs.score >= score)],
    }
    tp, true, fp = (bootstrap.weighted_count(draws, image) for image in images.values())
    rows = (("sensitivity", tp, true), ("precision", tp, np.maximum(tp + fp, 1)), ("f1", 2 * tp, tp + fp + true))
    return {name: np.divide(part, whole, out=np.full_like(part, np.nan), where=true > 0) for name, part, whole in rows}


def _by_category(ap: ApResult, truth: CocoTruth, pairs: Pairs, draws: Draws | None) -> list[dict[str, Any]]:
    """Rows of category, n boxes, ``ap``, ``ar``; with ``ci95`` where there are several."""
    matches = greedy_match(pairs, COCO_IOUS) if draws is not None and len(ap.ap_of) > 1 else None

    def ci95(identifier: int) -> dict[str, list[float]]:
        if matches is None:
            return {}
        mine = matches.counted & (pairs.truth.category == list(pairs.category_ids).index(identifier))
        return class_intervals(pairs, replace(matches, counted=mine), draws)

    counts = Counter(one.category_id for one in truth.annotations if not one.iscrowd)
    return [
        {
            "category": truth.categories[identifier],
            "n": counts[identifier],
            "ap": _headline(ap.ap_of[identifier]),
            "ar": _headline(ap.ar_of[identifier]),
            "ci95": ci95(identifier),
        }
        for identifier in ap.ap_of
    ]


def _other_ap(pairs: Pairs) -> dict[str, Any]:
    voc = {f"{iou:g}": voc_ap(pairs, iou) for iou in SINGLE_IOUS}
    by_score = threshold_ap(pairs)
    return {
        "voc_11_point": {iou: one.eleven_point for iou, one in voc.items()},
        "voc_every_point": {iou: one.every_point for iou, one in voc.items()},
        "score_thresholds": {
            "iou": THRESHOLD_IOU,
            "map": by_score.mean_ap,
            "mean_iou": by_score.mean_iou,
            "precision": by_score.precision.tolist(),
            "recall": by_score.recall.tolist(),
        },
    }


def _confusion(pairs: Pairs, truth: CocoTruth, options: EvaluateOptions) -> dict[str, Any]:
    counts = box_errors.confusion_matrix(pairs, options.iou_hit, options.score)
    return {"categories": [truth.categories[one] for one in pairs.category_ids], "counts": counts.tolist()}


def attributes_of(truth: CocoTruth, counted: BoolArray) -> dict[str, list[Any]]:
    """Attribute -> its value for each box that counts; None where a box has none.

    ``diameter_mm`` is the annotation's own, else its box's longest side; ``slice_thickness_mm`` is the image's.
    """
    image_of = {image.id: image for image in truth.images}
    boxes = [one for one, counts in zip(truth.annotations, counted, strict=True) if counts]
    known = dict.fromkeys(name for one in boxes for name in one.attributes)
    found: dict[str, list[Any]] = {name: [one.attributes.get(name) for one in boxes] for name in known}
    sizes = [_longest_mm(one, image_of[one.image_id]) for one in boxes]
    given = found.get("diameter_mm", [None] * len(boxes))
    found["diameter_mm"] = [size if one is None else one for one, size in zip(given, sizes, strict=True)]
    spacings = [list(image_of[one.image_id].lungct.get("spacing_mm") or ()) for one in boxes]
    found["slice_thickness_mm"] = [float(one[2]) if len(one) > 2 else None for one in spacings]
    return found


def _longest_mm(box: CocoAnnotation, image: CocoImage) -> float | None:
    if image.spacing_mm_xy is None:
        return None
    x1, y1, x2, y2 = box.box_xyxy_px
    return max((x2 - x1) * image.spacing_mm_xy[0], (y2 - y1) * image.spacing_mm_xy[1])


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
    from lungct.report import evaluation_figures

    shown = {f"IoU {iou:g}, AP {ap.ap[iou]:.3f}": (coco_ap.RECALLS, ap.precision[iou]) for iou in SINGLE_IOUS}
    evaluation_figures.precision_recall(path_stem, shown)


def _draw_ap_over_iou(path_stem: Path, ap: ApResult) -> None:
    from lungct.report import evaluation_figures

    values = (np.fromiter(part.values(), float) for part in (ap.ap, ap.ar))
    evaluation_figures.ap_over_iou(path_stem, np.fromiter(ap.ap, float), *values)
