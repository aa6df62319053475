"""What 1,000 draws of patients cost for AP over 5,000 images, by weighing matches and by evaluating again: run it.

The naive way evaluates each draw anew: the images of the drawn patients are put together, repeats under ids of their
own, matched and summed up. It is run on a few draws and its cost multiplied; both give the same AP in those draws.
"""
# ruff: noqa: T201

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import measured
import numpy as np

IMAGES, PATIENTS, DETECTIONS, DRAWS, FEW = 5_000, 500, 10, 1_000, 3
OURS, NAIVE = "weigh the matches", "evaluate again"


def split() -> tuple[Any, Any, list[str]]:
    """A truth of 0 to 3 boxes an image, ten detections each, and whose each image is."""
    from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth
    from lungct.types import Detections

    random = np.random.default_rng(0)
    images = [CocoImage(k, "", 512, 512, {"patient_id": f"p{k % PATIENTS}"}) for k in range(1, IMAGES + 1)]
    annotations, detections = [], []
    for image in images:
        count = int(random.integers(0, 4))
        corner, size = random.random((count, 2)) * 450, random.uniform(6, 60, (count, 2))
        boxes = np.concatenate([corner, corner + size], axis=1)
        for box in boxes.tolist():
            annotations.append(CocoAnnotation(len(annotations) + 1, image.id, 1, tuple(box)))
        at = random.random((DETECTIONS, 2)) * 450
        found = np.concatenate([at, at + random.uniform(6, 60, (DETECTIONS, 2))], axis=1)
        near = min(2 * count, DETECTIONS)
        if near:
            found[:near] = boxes[np.arange(near) % count] + random.normal(0, 2, (near, 4))
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        score = np.sort(random.random(DETECTIONS))[::-1]
        detections.append(Detections(image.id, found, score, np.ones(DETECTIONS, np.int64)))
    return CocoTruth({1: "nodule"}, images, annotations), detections, [image.patient_id for image in images]


def weighed(given: tuple[Any, Any, list[str]]) -> dict[str, Any]:
    """All draws, at all nineteen IoU thresholds."""
    from lungct.evaluation.bootstrap import ap_draws, draw_patients, interval
    from lungct.evaluation.coco_ap import ALL_IOUS
    from lungct.evaluation.match import greedy_match
    from lungct.evaluation.pairs import pair_up

    truth, detections, patients = given
    start = time.perf_counter()
    pairs = pair_up(truth, detections)
    ap, _ = ap_draws(pairs, greedy_match(pairs, ALL_IOUS), draw_patients(patients, DRAWS, 0))
    return {"few": ap[:FEW, 9].tolist(), "wall_s": time.perf_counter() - start, "ci95": interval(ap[:, 9])}


def again(given: tuple[Any, Any, list[str]]) -> dict[str, Any]:
    """A few draws, each a split of its own that is evaluated as any other."""
    from dataclasses import replace

    from lungct.evaluation.bootstrap import draw_patients
    from lungct.evaluation.coco_ap import ALL_IOUS, average_precision
    from lungct.io.coco import CocoTruth

    truth, detections, patients = given
    draws = draw_patients(patients, FEW, 0)
    found = {one.image_id: one for one in detections}
    values = []
    for weight in draws.weight:
        images, annotations, of_images = [], [], []
        for image, count in zip(truth.images, weight[draws.patient_of_image].tolist(), strict=True):
            for turn in range(count):
                name = image.id + turn * 10 * IMAGES
                images.append(replace(image, id=name))
                of_images.append(replace(found[image.id], image_id=name))
                for row in truth.annotations_of[image.id]:
                    annotations.append(replace(row, id=len(annotations) + 1, image_id=name))
        drawn = CocoTruth(truth.categories, images, annotations)
        values.append(average_precision(drawn, of_images, ALL_IOUS).ap[0.5])
    return {"few": values}


def one_run(way: str) -> None:
    """The process of one run: import and draw the data, then measure."""
    import lungct.evaluation.bootstrap  # noqa: F401

    given = split()
    measured.report_self(lambda: weighed(given) if way == OURS else again(given))


def main(repeats: int = 3) -> None:
    """Measure both ways in turn, print."""
    figures = measured.in_turn(Path(__file__), [OURS, NAIVE], repeats=repeats)
    mine, naive = figures[OURS], figures[NAIVE]
    assert np.allclose(mine.said["few"], naive.said["few"], rtol=0, atol=1e-9), "the two ways give other numbers"
    print(f"{DRAWS} draws of {PATIENTS} patients, AP at 19 IoUs over {IMAGES} images x {DETECTIONS} detections")
    print(f"{OURS}: {mine.median_s:.1f} CPU-s, {mine.said['wall_s']:.1f} s on the wall, {mine.peak_mb:.0f} MB")
    whole = naive.median_s * DRAWS / FEW
    print(f"{NAIVE}: {whole:.0f} CPU-s for all draws, {whole / mine.median_s:.0f} times as much")


if __name__ == "__main__":
    one_run(sys.argv[1]) if len(sys.argv) == 2 and not sys.argv[1].isdigit() else main(*map(int, sys.argv[1:]))
