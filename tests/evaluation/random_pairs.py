"""Splits drawn at random, small enough to be judged by slow programs too."""

from __future__ import annotations

import numpy as np

from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth
from lungct.types import Detections


def three_classes(seed: int, images: int = 30) -> tuple[CocoTruth, list[Detections]]:
    """Detections near and far, right and wrong in class; no two scores are equal and no box is a crowd."""
    random = np.random.default_rng(seed)
    records = [CocoImage(number, "", 100, 100) for number in range(1, images + 1)]
    annotations: list[CocoAnnotation] = []
    detections = []
    for image in records:
        count, found = int(random.integers(0, 4)), int(random.integers(0, 9))
        corner, size = random.uniform(0, 60, (count, 2)), random.uniform(5, 40, (count, 2))
        boxes = np.concatenate([corner, corner + size], axis=1)
        labels = random.integers(1, 4, count)
        for box, label in zip(boxes.tolist(), labels.tolist(), strict=True):
            annotations.append(CocoAnnotation(len(annotations) + 1, image.id, label, tuple(box)))
        far = random.uniform(0, 60, (found, 2))
        marks = np.concatenate([far, far + random.uniform(5, 40, (found, 2))], axis=1)
        near = random.random(found) < 0.8
        if count:
            of = random.integers(0, count, found)
            shaken = boxes[of] + random.normal(0, 1, (found, 4)) * random.choice([0.05, 0.3], (found, 1)) * np.tile(
                size[of], 2
            )
            marks[near] = shaken[near]
        marks[:, 2:] = np.maximum(marks[:, 2:], marks[:, :2] + 1)
        right = random.random(found) < 0.7
        guess = np.where(right & (count > 0), labels[of] if count else 1, random.integers(1, 4, found))
        detections.append(Detections(image.id, marks, np.sort(random.random(found))[::-1], guess))
    return CocoTruth({1: "solid", 2: "part-solid", 3: "ground glass"}, records, annotations), detections
