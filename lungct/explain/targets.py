"""Which detections are explained, and the network opened at them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from lungct.errors import UsageError
from lungct.explain.base import Subject
from lungct.explain.network import Network
from lungct.explain.scorers import AnchorScorer, MatchScorer, RoiScorer, Scorer
from lungct.models.preprocess import to_input
from lungct.types import Detections, IntArray

AUTO = "auto"


def best(detections: Detections, top: int, score_threshold: float) -> Detections:
    """The ``top`` best-scored detections of at least the threshold, best first."""
    order = np.argsort(-detections.scores, kind="stable")
    order = order[detections.scores[order] >= score_threshold][:top]
    return Detections(
        detections.image_id,
        detections.boxes_xyxy_px[order],
        detections.scores[order],
        detections.labels[order],
    )


def open_image(
    network: Network,
    image_hu: NDArray[np.int16],
    detections: Detections,
    *,
    level: str = AUTO,
    scorer: str = "roi",
    name: str = "slice",
) -> Subject:
    """Run the network once on a (C, Y, X) slice and bind everything the methods need of it.

    Raises:
        InputError: the model was not made for the slice, or knows no such category.
        UsageError: no such pyramid level.
    """
    image = to_input(image_hu, network.model.card, name=name).to(network.model.device)
    with torch.inference_mode():
        images = network.prepare(image[None])
        features = network.pyramid(images)
        geometry = network.geometry((image_hu.shape[1], image_hu.shape[2]), image, images)
        boxes, classes = network.boxes_on(geometry, detections), network.class_indices(detections.labels)
        levels: IntArray
        fixed: Scorer
        if network.two_stage:
            levels, fixed = network.roi_levels(features, boxes, images), RoiScorer(network, boxes, classes)
        else:
            levels, places = network.anchors_of(features, boxes, classes, images)
            fixed = AnchorScorer(network, levels, places, classes)
        if scorer == "match":
            factors = torch.from_numpy(geometry.network_to_input_xyxy).to(boxes)
            fixed = MatchScorer(network, boxes * factors, classes)
    chosen = _levels(level, levels, len(features))
    maps = list(features.values())
    activations = {one: maps[one][0] for one in sorted(set(chosen.tolist()))}
    return Subject(image_hu, image, detections, chosen, activations, geometry, fixed)


def _levels(level: str, found: IntArray, count: int) -> IntArray:
    if level == AUTO:
        return found
    if int(level) >= count:
        raise UsageError(f"--level {level}: the model has levels 0 to {count - 1}")
    return np.full_like(found, int(level))
