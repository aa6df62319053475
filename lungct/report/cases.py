"""Which findings the report shows: the best hits, the worst false alarms, the nodules that were missed."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth
from lungct.types import Detections, FloatArray

HIT_IOU = 0.5


@dataclass(frozen=True, eq=False)
class Case:
    """One detection or one missed nodule on its slice.

    Attributes:
        box_xyxy_px: the detection; of a missed nodule the detection that comes nearest, None where none touches it.
        score: of that detection, NaN for none.
        iou: overlap of the detection with the true box it is nearest to.
        truth: the true box that was hit or missed, None for a false alarm.
        true_boxes_xyxy_px: (N, 4) every true box of the slice.
    """

    image: CocoImage
    box_xyxy_px: tuple[float, ...] | None
    score: float
    iou: float
    truth: CocoAnnotation | None
    true_boxes_xyxy_px: FloatArray

    @property
    def focus_xyxy_px(self) -> tuple[float, ...]:
        """The box that an enlarged view is centred on."""
        if self.truth is not None:
            return self.truth.box_xyxy_px
        return self.box_xyxy_px or (0.0, 0.0, float(self.image.width), float(self.image.height))


@dataclass(frozen=True, eq=False)
class Cases:
    """The cases of a split, each list in the order in which they are shown."""

    hits: list[Case]
    false_alarms: list[Case]
    missed: list[Case]


def sort_out(truth: CocoTruth, detections: Iterable[Detections]) -> Cases:
    """Every hit (by falling score), false alarm (by falling score) and missed nodule box (largest first) of a split.

    By falling score a detection takes the free true box of its label that it overlaps most, if by IoU >= .5.
    """
    image_of = {image.id: image for image in truth.images}
    cases = Cases([], [], [])
    for found in detections:
        annotations = truth.annotations_of[found.image_id]
        case_of = _CaseOf(image_of[found.image_id], found, truth.boxes_of(found.image_id))
        taken = _take(case_of.overlaps, found, annotations)
        for place, number in enumerate(taken):
            if number >= 0:
                cases.hits.append(case_of(place, annotations[number], float(case_of.overlaps[place, number])))
            else:
                cases.false_alarms.append(case_of(place, None, float(case_of.overlaps[place].max(initial=0))))
        for number, annotation in enumerate(annotations):
            if number not in taken and not annotation.iscrowd:
                cases.missed.append(case_of.missed(number, annotation))
    cases.hits.sort(key=lambda case: -case.score)
    cases.false_alarms.sort(key=lambda case: -case.score)
    cases.missed.sort(key=lambda case: -(case.truth.area_px if case.truth else 0))
    return cases


class _CaseOf:
    """Makes the cases of one image."""

    def __init__(self, image: CocoImage, found: Detections, true_boxes_xyxy_px: FloatArray) -> None:
        self.image, self.found, self.true_boxes_xyxy_px = image, found, true_boxes_xyxy_px
        self.overlaps = iou_matrix(np.asarray(found.boxes_xyxy_px, dtype=np.float64), true_boxes_xyxy_px)

    def __call__(self, place: int | None, annotation: CocoAnnotation | None, iou: float) -> Case:
        box = None if place is None else tuple(float(edge) for edge in self.found.boxes_xyxy_px[place])
        score = math.nan if place is None else float(self.found.scores[place])
        return Case(self.image, box, score, iou, annotation, self.true_boxes_xyxy_px)

    def missed(self, number: int, annotation: CocoAnnotation) -> Case:
        best = float(self.overlaps[:, number].max(initial=0))
        return self(int(self.overlaps[:, number].argmax()) if best > 0 else None, annotation, best)


def _take(overlaps: FloatArray, found: Detections, annotations: Sequence[CocoAnnotation]) -> list[int]:
    """The place of the true box that each detection takes, -1 for none."""
    taken: list[int] = []
    for place in range(len(found)):
        free = [
            (float(overlaps[place, number]), number)
            for number, annotation in enumerate(annotations)
            if number not in taken and annotation.category_id == found.labels[place]
        ]
        iou, number = max(free, default=(0.0, -1))
        taken.append(number if iou >= HIT_IOU else -1)
    return taken


def iou_matrix(first: FloatArray, second: FloatArray) -> FloatArray:
    """(A, 4) and (B, 4) boxes xyxy to their (A, B) intersection over union, 0 for two empty boxes."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.asarray(shared / np.where(union > 0, union, 1), dtype=np.float64)


def pick(cases: Sequence[Case], count: int, *, explained: Callable[[Case], bool]) -> list[Case]:
    """The first ``count`` cases of different findings, in their order; those that have a heatmap go before."""
    chosen: dict[Hashable, tuple[int, Case]] = {}
    for wanted in (True, False):
        for place, case in enumerate(cases):
            if len(chosen) >= count:
                break
            if _finding(case) not in chosen and explained(case) == wanted:
                chosen[_finding(case)] = (place, case)
    return [case for _, case in sorted(chosen.values(), key=lambda one: one[0])]


def _finding(case: Case) -> Hashable:
    """What makes two cases on neighbouring slices the same finding."""
    if case.truth is not None and "nodule_id" in case.truth.attributes:
        return case.image.case_id, str(case.truth.attributes["nodule_id"])
    x1, y1, x2, y2 = case.focus_xyxy_px
    return case.image.case_id, round((x1 + x2) / 40), round((y1 + y2) / 40)


def facts(case: Case, attributes: Mapping[str, str]) -> list[str]:
    """What a caption says of a case; ``attributes`` names those of the nodule that are shown and their units."""
    found = [] if math.isnan(case.score) else [f"score {case.score:.2f}"]
    if case.box_xyxy_px is None:
        found.append("no detection touches it")
    elif case.truth is not None or case.iou > 0:
        found.append(f"IoU {case.iou:.2f}")
    for name, unit in attributes.items():
        value = case.truth.attributes.get(name) if case.truth else None
        if isinstance(value, (int, float)):
            found.append(f"{name.replace('_mm', '').replace('_', ' ')} {value:.3g}{unit}")
    z_index = case.image.lungct.get("z_index")
    return [*found, f"scan {case.image.case_id}" + (f", slice {z_index}" if z_index is not None else "")]
