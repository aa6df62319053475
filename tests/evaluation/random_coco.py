"""COCO splits drawn at random on a small integer grid: equal scores, equal IoUs and IoUs on a threshold abound."""

from __future__ import annotations

import numpy as np

from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth
from lungct.types import Detections


def instance(
    seed: int, images: int, categories: int, most: int, *, strings: bool, levels: int, scale: int = 1
) -> tuple[CocoTruth, list[Detections]]:
    """Up to four boxes an image, a fifth of them crowds, and up to ``most`` detections; some of no known category."""
    random = np.random.default_rng(seed)
    order = random.permutation(images).tolist()
    records = [CocoImage(str(one) if strings else one, "", 40 * scale, 40 * scale) for one in order]
    names = {3 * k: str(k) for k in range(categories)}
    annotations, detections = [], []
    for image in records:
        for _ in range(random.integers(0, 5)):
            identifier = len(annotations) + int(random.random() < 0.9)  # now and then the first id is 0
            identifier = identifier if identifier not in {a.id for a in annotations} else 1000 + len(annotations)
            area = None if random.random() < 0.5 else float(random.integers(1, 300 * scale**2))
            label = int(random.choice(list(names)))
            box = boxes(random, 1, scale)[0]
            crowd = int(random.random() < 0.2)
            annotations.append(CocoAnnotation(identifier, image.id, label, tuple(box.tolist()), crowd, area))
        count = int(random.integers(0, most + 1))
        if count:
            scores = np.sort(random.integers(0, levels, count) / levels)[::-1]
            labels = random.choice([*names, 999], count)
            detections.append(Detections(image.id, boxes(random, count, scale), scores, labels))
    return CocoTruth(names, records, annotations), detections


def boxes(random: np.random.Generator, count: int, scale: int = 1) -> np.ndarray:
    """(N, 4) xyxy on the grid."""
    corner = random.integers(0, 12, (count, 2))
    return np.concatenate([corner, corner + random.integers(1, 14, (count, 2))], axis=1).astype(float) * scale
