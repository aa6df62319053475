"""Which detections are explained, which true box each has found, and the network opened at them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from lungct.errors import UsageError
from lungct.evaluation.match import UNMATCHED, greedy_match, pair_up
from lungct.explain.base import Subject
from lungct.explain.network import Network
from lungct.explain.scorers import AnchorScorer, MatchScorer, RoiScorer, Scorer
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth
from lungct.models.preprocess import to_input
from lungct.types import Detections, IntArray

MATCH_IOU = 0.5
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


def matched(truth: CocoTruth, image: CocoImage, detections: Detections) -> list[CocoAnnotation | None]:
    """The true box each detection of one image has found at IoU >= .5, None for a false positive.

    COCO's greedy matching: a true box goes to the best-scored detection on it, another one there is a false positive.
    """
    annotations = truth.annotations_of[image.id]
    alone = CocoTruth(truth.categories, [image], annotations, truth.root)
    matches = greedy_match(pair_up(alone, [detections], max(len(detections), 1)), (MATCH_IOU,))
    # pair_up lays detections out by category and falling score, without those of unknown categories
    order = np.lexsort((-detections.scores.astype(np.float64), detections.labels))
    order = order[np.isin(detections.labels[order], list(truth.categories))]
    found: list[CocoAnnotation | None] = [None] * len(detections)
    for place, of_truth, hit in zip(order, matches.truth_of[:, 0], matches.hit[:, 0], strict=True):
        if hit and of_truth != UNMATCHED:
            found[place] = annotations[of_truth]
    return found


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
