"""From slices and options to a model card and an initialised detector."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lungct.data.dataset import first_slice
from lungct.errors import InputError, UsageError
from lungct.io.coco import CocoTruth, read_truth
from lungct.models.anchors import anchor_recall, anchor_sizes
from lungct.models.card import ModelCard
from lungct.models.detector import build_detector
from lungct.models.transfer import Transferred, transfer
from lungct.models.weights import PretrainedWeights, adapt, read_weights
from lungct.training.options import TrainOptions, parse_anchors, parse_strides
from lungct.types import FloatArray

FROM_SCRATCH_MEAN = (0.5, 0.5, 0.5)
FROM_SCRATCH_STD = (0.25, 0.25, 0.25)
logger = logging.getLogger("lungct")


@dataclass(frozen=True, eq=False)
class Splits:
    """What a run learns from and is judged on; ``digest`` changes when either file does."""

    train: CocoTruth
    val: CocoTruth | None
    digest: str


def read_splits(slices: Path) -> Splits:
    """``train.json`` and, where it has boxes, ``val.json`` of a slices folder.

    Raises:
        InputError: no training split, one without images or without a single box, categories that differ.
    """
    if not slices.is_dir():
        raise InputError.of(slices, "no such folder", "make it with lungct select-slices")
    train_path, val_path = slices / "train.json", slices / "val.json"
    train = read_truth(train_path)
    if not train.images:
        raise InputError.of(train_path, "holds no images", "give more patients, or other split fractions")
    if not _has_boxes(train):
        raise InputError.of(train_path, "holds no boxes, so there is nothing to learn")
    _tell_lost_boxes(train_path, train)
    digest = hashlib.sha256(train_path.read_bytes())
    val = None
    if val_path.is_file():
        val = read_truth(val_path)
        digest.update(val_path.read_bytes())
        if dict(val.categories) != dict(train.categories):
            raise InputError.of(val_path, "its categories are not those of train.json")
        _tell_lost_boxes(val_path, val)
    return Splits(train, val if val and _has_boxes(val) else None, digest.hexdigest())


def _has_boxes(truth: CocoTruth) -> bool:
    return len(_boxes(truth)[0]) > 0


def _tell_lost_boxes(path: Path, truth: CocoTruth) -> None:
    lost = sum(not one.iscrowd for one in truth.annotations) - len(_boxes(truth)[0])
    if lost:
        logger.warning("%s: boxes that have no area or lie outside of their slice: %d; nothing learns them", path, lost)


def learned_from(splits: Splits, options: TrainOptions) -> str:
    """A digest of all files that a run learns from, but for its weights.

    Raises:
        InputError: a file of hard negatives that is not there.
    """
    if not options.hard_negatives:
        return splits.digest
    path = Path(options.hard_negatives)
    if not path.is_file():
        raise InputError.of(path, "no such file", "make it with lungct predict on the training split")
    return hashlib.sha256(splits.digest.encode() + path.read_bytes()).hexdigest()


def make_card(truth: CocoTruth, options: TrainOptions, weights: PretrainedWeights | None) -> ModelCard:
    """The card of a run: options, and what the training slices say (channels, classes, spacing, box sizes)."""
    channels = len(first_slice(truth))
    norm = chosen_norm(options, weights)
    mean = weights.input_mean if weights else FROM_SCRATCH_MEAN
    std = weights.input_std if weights else FROM_SCRATCH_STD
    strides = parse_strides(options.strides)
    anchors = _anchors(truth, options, strides)
    return ModelCard(
        detector=options.detector,
        backbone=options.backbone,
        width=options.width,
        norm=norm,
        fpn_channels=options.fpn_channels,
        strides=strides,
        anchor_sizes_px=anchors,
        head_units=options.head_units,
        sampled_proposals=options.sampled_proposals,
        in_channels=channels,
        hu_window=options.hu_range,
        input_mean=adapt(mean, channels),
        input_std=adapt(std, channels),
        magnify=options.magnify,
        categories={identifier: str(name) for identifier, name in sorted(truth.categories.items())},
        spacing_mm=_common(image.lungct.get("spacing_mm") for image in truth.images),
        hu_clip=_common(image.lungct.get("hu_clip") for image in truth.images),
    )


def _anchors(truth: CocoTruth, options: TrainOptions, strides: tuple[int, ...]) -> tuple[tuple[float, ...], ...]:
    if options.detector == "fcos":
        return tuple((float(stride),) for stride in strides)  # the unit of its distances
    if options.anchors != "auto":
        return parse_anchors(options.anchors, len(strides))
    boxes, _ = _boxes(truth)
    return anchor_sizes((boxes[:, 2:] - boxes[:, :2]) * options.magnify, len(strides))


def _boxes(truth: CocoTruth) -> tuple[FloatArray, FloatArray]:
    """(N, 4) boxes of a split, stored pixels, and (N, 2) extents of their images.

    Crowds are left out, and boxes that have no area or lie outside of their image.
    """
    sizes = {image.id: (image.width, image.height) for image in truth.images}
    kept = [one for one in truth.annotations if not one.iscrowd]
    boxes = np.asarray([one.box_xyxy_px for one in kept], dtype=np.float64).reshape(-1, 4)
    images = np.asarray([sizes[one.image_id] for one in kept], dtype=np.float64).reshape(-1, 2)
    good = (np.minimum(boxes[:, 2:], images) > np.maximum(boxes[:, :2], 0)).all(1)
    return boxes[good], images[good]


def reached_share(truth: CocoTruth, card: ModelCard) -> float | None:
    """Share of a split's boxes that the card's anchors overlap by IoU .5; None for a detector without anchors."""
    if card.detector == "fcos":
        return None
    boxes, images = (one * card.magnify for one in _boxes(truth))
    return round(anchor_recall(boxes, images, card.anchor_sizes_px, card.strides, card.aspect_ratios), 4)


def anchor_facts(card: ModelCard, reached: float | None) -> dict[str, Any]:
    """The anchors and the share of boxes that they reach, for a table or JSON; nothing for a detector without."""
    if reached is None:
        return {}
    levels = ("/".join(f"{one:g}" for one in level) for level in card.anchor_sizes_px)
    return {"anchors_px": " ".join(levels), "anchor_recall": reached}


def _common(values: Iterable[Any]) -> Any:
    """The one value that all images share to 1 %, as a tuple; None where they do not, or one has none."""
    rows = [None if value is None else tuple(float(one) for one in value) for value in values]
    first = rows[0]
    if first is None or any(row is None or not np.allclose(row, first, rtol=0.01) for row in rows):
        return None
    return first


def initial_detector(
    card: ModelCard, options: TrainOptions, weights: PretrainedWeights | None
) -> tuple[nn.Module, Transferred | None]:
    """The detector of a card, initialised from the seed and from pretrained weights where there are any, and which.

    Raises:
        InputError: weights that do not fit.
    """
    torch.manual_seed(options.seed)
    detector = build_detector(card, options.losses)
    told = None
    if weights is not None:
        told = transfer(detector, card, weights, source=options.weights, stem=options.stem)
    backbone: Any = detector.backbone
    if options.trainable_stages < len(card.strides):
        backbone.hold_still(options.trainable_stages)
    return detector, told


def chosen_weights(options: TrainOptions) -> PretrainedWeights | None:
    """The weights that the options name, None for ``none``."""
    if options.weights == "none":
        return None
    return read_weights(options.weights, backbone=options.backbone, detector=options.detector)


def chosen_norm(options: TrainOptions, weights: PretrainedWeights | None) -> str:
    """The norm of a run: ``auto`` is what its weights have, folded for torchvision's, batch from scratch.

    Raises:
        UsageError: the norm or the width of another run's weights is not this run's.
    """
    card = weights.card if weights else None
    if card is None:
        if weights is not None and options.width != 1.0:
            raise UsageError("pretrained weights need the full width", "leave out --weights or take --preset default")
        return options.norm if options.norm != "auto" else "folded" if weights else "batch"
    for name, theirs, ours in (
        ("--backbone", card.backbone, options.backbone),
        ("width", card.width, options.width),
        ("--norm", card.norm, card.norm if options.norm == "auto" else options.norm),
    ):
        if theirs != ours:
            raise UsageError(
                f"the weights' run has {name} {theirs}, this one {ours}",
                "take the --backbone, --norm and --preset of that run",
            )
    return card.norm
