"""From slices and options to a model card and an initialised detector."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lungct.data.dataset import first_slice
from lungct.errors import InputError
from lungct.io.coco import CocoTruth, read_truth
from lungct.models.anchors import anchor_sizes
from lungct.models.card import ModelCard
from lungct.models.detector import build_detector
from lungct.models.weights import PretrainedWeights, adapt, load_backbone_weights, read_weights
from lungct.training.options import TrainOptions, parse_anchors

STRIDES = (4, 8, 16)
FROM_SCRATCH_MEAN = (0.5, 0.5, 0.5)
FROM_SCRATCH_STD = (0.25, 0.25, 0.25)


@dataclass(frozen=True, eq=False)
class Splits:
    """What a run learns from and is judged on; ``digest`` changes when either file does."""

    train: CocoTruth
    val: CocoTruth | None
    digest: str


def read_splits(slices: Path) -> Splits:
    """``train.json`` and, where it has images, ``val.json`` of a slices folder.

    Raises:
        InputError: no training split, one without images or without a single box, categories that differ.
    """
    if not slices.is_dir():
        raise InputError.of(slices, "no such folder", "make it with lungct select-slices")
    train_path, val_path = slices / "train.json", slices / "val.json"
    train = read_truth(train_path)
    if not train.images:
        raise InputError.of(train_path, "holds no images", "give more patients, or other split fractions")
    if not any(not one.iscrowd for one in train.annotations):
        raise InputError.of(train_path, "holds no boxes, so there is nothing to learn")
    digest = hashlib.sha256(train_path.read_bytes())
    val = None
    if val_path.is_file():
        val = read_truth(val_path)
        digest.update(val_path.read_bytes())
        if dict(val.categories) != dict(train.categories):
            raise InputError.of(val_path, "its categories are not those of train.json")
    return Splits(train, val if val and val.images else None, digest.hexdigest())


def make_card(truth: CocoTruth, options: TrainOptions, weights: PretrainedWeights | None) -> ModelCard:
    """The card of a run: options, and what the training slices say (channels, classes, spacing, box sizes)."""
    channels = len(first_slice(truth))
    mean = weights.input_mean if weights else FROM_SCRATCH_MEAN
    std = weights.input_std if weights else FROM_SCRATCH_STD
    extents = [
        (x2 - x1, y2 - y1)
        for x1, y1, x2, y2 in (one.box_xyxy_px for one in truth.annotations if not one.iscrowd)
        if x2 > x1 and y2 > y1
    ]
    if options.anchors == "auto":
        anchors = anchor_sizes(np.asarray(extents) * options.magnify, len(STRIDES))
    else:
        anchors = parse_anchors(options.anchors, len(STRIDES))
    return ModelCard(
        detector=options.detector,
        backbone=options.backbone,
        width=options.width,
        norm="folded" if weights else options.norm,
        fpn_channels=options.fpn_channels,
        strides=STRIDES,
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


def _common(values: Iterable[Any]) -> Any:
    """The one value that all images share to 1 %, as a tuple; None where they do not, or one has none."""
    rows = [None if value is None else tuple(float(one) for one in value) for value in values]
    first = rows[0]
    if first is None or any(row is None or not np.allclose(row, first, rtol=0.01) for row in rows):
        return None
    return first


def initial_detector(card: ModelCard, options: TrainOptions, weights: PretrainedWeights | None) -> nn.Module:
    """The detector of a card, initialised from the seed and from pretrained weights where there are any."""
    torch.manual_seed(options.seed)
    detector = build_detector(card)
    if weights is not None:
        backbone: Any = detector.backbone
        load_backbone_weights(backbone.body, weights, card.in_channels, options.weights)
    return detector


def chosen_weights(options: TrainOptions) -> PretrainedWeights | None:
    """The weights that the options name, None for ``none``."""
    return None if options.weights == "none" else read_weights(options.weights)
