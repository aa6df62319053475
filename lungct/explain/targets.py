"""Which detections are explained, and the network opened at them."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models.detection.image_list import ImageList

from lungct import registry
from lungct.errors import InputError, UsageError
from lungct.explain.base import Subject
from lungct.explain.candidates import scorer_of
from lungct.explain.geometry import Geometry
from lungct.explain.goals import check_goal
from lungct.explain.heads import DetectorHead
from lungct.explain.network import Network
from lungct.explain.places import DensePlaces, Places, RoiPlaces
from lungct.explain.scorers import MatchScorer, PlaceScorer, Scorer
from lungct.models.card import ModelCard
from lungct.models.preprocess import to_input
from lungct.types import BoolArray, Detections, IntArray

AUTO = "auto"
LATERAL = "lateral"


def best(detections: Detections, top: int, score_threshold: float) -> Detections:
    """The ``top`` best-scored detections of at least the threshold, best first."""
    order = np.argsort(-detections.scores, kind="stable")
    order = order[detections.scores[order] >= score_threshold][:top]
    return detections_at(detections, order)


def detections_at(detections: Detections, places: IntArray) -> Detections:
    """Some of the detections of an image, in the order of ``places``."""
    return Detections(
        detections.image_id,
        detections.boxes_xyxy_px[places],
        detections.scores[places],
        detections.labels[places],
    )


def open_image(
    network: Network,
    image_hu: NDArray[np.int16],
    detections: Detections,
    *,
    level: str = AUTO,
    scorer: str = AUTO,
    target: str = "score",
    missed: BoolArray | None = None,
    spacing_mm_xy: tuple[float, float] | None = None,
    name: str = "slice",
) -> Subject:
    """Run the network once on a (C, Y, X) slice and bind everything the methods need of it.

    Args:
        level: of ``registry.LEVELS``.
        scorer: ``roi``, ``match``, or ``auto``: each method's own, which is ``roi`` but for D-RISE.
        target: of ``registry.TARGETS``.
        missed: (D,) the boxes that the detector did not find: each is scored as a proposal, or at the anchor whose box
            comes nearest, and that score becomes the detection's.
        spacing_mm_xy: of the slice, where known.

    Raises:
        InputError: the model was not made for the slice, or knows no such category; a slice smaller than a stride.
        UsageError: no such pyramid level, or a target that the scorer has no number for.
    """
    check_goal(target, scorer)
    image = to_input(image_hu, network.model.card, name=name).to(network.model.device)
    _check_size(image, network.model.card, name)
    missed = np.zeros(len(detections), dtype=bool) if missed is None else missed
    with torch.no_grad():  # not inference_mode, whose tensors have no gradient ever after
        images = network.prepare(image[None])
        layers, features = _layers(network, images, level)
        geometry = network.geometry((image_hu.shape[1], image_hu.shape[2]), image, images)
        boxes, classes = network.boxes_on(geometry, detections), network.class_indices(detections.labels)
        levels, places = _places(network, images, features, (boxes, classes), missed)
        own = places.values(features, "score")[0].cpu().numpy() if len(detections) else detections.scores
        given = torch.from_numpy(missed).to(boxes.device)
        alike = scorer_of(network, images, boxes, classes, given) if scorer == AUTO and target == "score" else None
    chosen = _levels(network, level, levels, len(features))
    detections = dataclasses.replace(detections, scores=np.where(missed, own, detections.scores).astype(np.float32))
    lateral = level == LATERAL
    pyramid = network.merge if lateral else _named
    head = DetectorHead(places, layers, pyramid, target, further=1 if lateral else 0)
    return Subject(
        image_hu,
        image,
        detections,
        chosen,
        {one: layers[one][0] for one in np.unique(chosen).tolist()},
        geometry,
        _scorer(network, geometry, boxes, classes, detections, target)
        if scorer == "match"
        else PlaceScorer(network, places, target),
        head=None if scorer == "match" else head,
        similarity=alike,
        layer_names={one: network.level_name(one) + (" lateral" if lateral else "") for one in range(len(layers))},
        spacing_mm_yx=None if spacing_mm_xy is None else (spacing_mm_xy[1], spacing_mm_xy[0]),
        lung_value=_unit(registry.LUNG_HU, network.model.card),
    )


def _check_size(image: Tensor, card: ModelCard, name: str) -> None:
    if min(image.shape[1:]) < card.strides[0]:
        size, stride = f"{image.shape[1]} x {image.shape[2]} px", card.strides[0]
        problem = f"{size} are less than one cell of the finest level (stride {stride})"
        raise InputError.of(name, problem, "there is nothing to map; choose larger slices")


def _layers(network: Network, images: ImageList, level: str) -> tuple[list[Tensor], Mapping[str, Tensor]]:
    if level == LATERAL:
        laterals = network.laterals(images)
        return laterals, network.merge(laterals)
    features = network.pyramid(images)
    return list(features.values()), features


def _named(layers: Sequence[Tensor]) -> Mapping[str, Tensor]:
    return OrderedDict((str(level), one) for level, one in enumerate(layers))


def _places(
    network: Network, images: ImageList, features: Mapping[str, Tensor], found: tuple[Tensor, Tensor], missed: BoolArray
) -> tuple[IntArray, Places]:
    boxes, classes = found
    if not network.two_stage:
        levels, places, anchors = network.anchors_of(features, boxes, classes, images)
        return levels, DensePlaces(network, levels, places, anchors, classes)
    proposals, _ = network.proposals_of(features, boxes, classes, images)
    proposals[missed] = boxes[missed]
    levels = network.roi_levels(features, proposals, images)
    return levels, RoiPlaces(network, proposals, classes, levels)


def _scorer(
    network: Network, geometry: Geometry, boxes: Tensor, classes: Tensor, detections: Detections, target: str
) -> Scorer:
    factors = torch.from_numpy(geometry.network_to_input_xyxy).to(boxes)
    scores = torch.from_numpy(detections.scores).to(boxes)
    return MatchScorer(network, boxes * factors, classes, scores, target)


def _unit(hu: float, card: ModelCard) -> float:
    low, high = card.hu_window
    return min(max((hu - low) / (high - low), 0.0), 1.0)


def _levels(network: Network, level: str, found: IntArray, count: int) -> IntArray:
    if level in (AUTO, LATERAL):
        return found
    names = [network.level_name(one) for one in range(count)]
    if level not in names:
        raise UsageError(f"--level {level}: the model has levels {', '.join(names)}")
    return np.full_like(found, names.index(level))
