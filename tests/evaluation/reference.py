"""The COCO reference program, asked about a split that is held in memory."""

from __future__ import annotations

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lungct.io.coco import CocoTruth
from lungct.types import Detections

EVERYTHING = (0.0, 1e10)


def reference(
    truth: CocoTruth, detections: list[Detections], ious: tuple[float, ...], limit: int, area: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """The reference program's precision (T, 101, K) and recall (T, K); -1 for a category without truth."""
    with contextlib.redirect_stdout(io.StringIO()):
        judge = _judge(truth, detections)
        judge.params.iouThrs = np.asarray(ious)
        judge.params.areaRng, judge.params.areaRngLbl, judge.params.maxDets = [list(area)], ["all"], [limit]
        judge.evaluate()
        judge.accumulate()
    return judge.eval["precision"][:, :, :, 0, 0], judge.eval["recall"][:, :, 0, 0]


def reference_summary(truth: CocoTruth, detections: list[Detections]) -> list[float]:
    """The twelve numbers that the reference program prints; -1 where there is none."""
    with contextlib.redirect_stdout(io.StringIO()):
        judge = _judge(truth, detections)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return [float(one) for one in judge.stats]


def _judge(truth: CocoTruth, detections: list[Detections]) -> COCOeval:
    images = [{"id": image.id, "width": image.width, "height": image.height} for image in truth.images]
    categories = [{"id": identifier, "name": name} for identifier, name in truth.categories.items()]
    annotations = []
    for one in truth.annotations:
        x1, y1, x2, y2 = one.box_xyxy_px
        bbox = [x1, y1, x2 - x1, y2 - y1]
        record = {"id": one.id, "image_id": one.image_id, "category_id": one.category_id, "iscrowd": one.iscrowd}
        annotations.append(record | {"bbox": bbox, "area": one.area_px})
    rows = [
        {"image_id": one.image_id, "category_id": int(label), "bbox": bbox, "score": float(score)}
        for one in detections
        for label, score, bbox in zip(one.labels, one.scores, _xywh(one), strict=True)
    ]
    gt, dt = COCO(), COCO()
    gt.dataset = {"info": {}, "images": images, "categories": categories, "annotations": annotations}
    gt.createIndex()
    if rows:
        dt = gt.loadRes(rows)
    else:  # it fails on an empty list
        dt.dataset = {"info": {}, "images": images, "categories": categories, "annotations": []}
        dt.createIndex()
    return COCOeval(gt, dt, "bbox")


def _xywh(one: Detections) -> list[list[float]]:
    return [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in np.asarray(one.boxes_xyxy_px, float).tolist()]
