"""The model card: everything that is needed to rebuild a detector and to feed it as it was trained."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from lungct.errors import InputError

SCHEMA = "lungct.model/1"


@dataclass(frozen=True)
class ModelCard:
    """Architecture, input and classes of one detector; stored as JSON in the metadata of its weights.

    Attributes:
        detector, backbone: names of the registry.
        width: channel multiplier of the backbone.
        norm: ``batch``, ``group``, ``frozen``, or ``folded`` (no norm layers, their scale is in the convolutions).
        fpn_channels: channels of each pyramid level.
        strides: of the levels, finest first.
        anchor_sizes_px: square anchor sides per level, network pixels; FCOS's units of distance, one a level.
        head_units: width of the box head (Faster R-CNN).
        proposals_train, proposals_test: proposals kept per image (Faster R-CNN).
        sampled_anchors, sampled_proposals: per image in the losses (Faster R-CNN).
        in_channels: slices in a stack.
        hu_window: HU that become 0 and 1.
        input_mean, input_std: per channel, subtracted and divided inside the detector.
        magnify: network pixels per stored pixel; network boxes / magnify = stored-slice pixels.
        categories: COCO id -> name; network label k (1..K) is the k-th id in order.
        spacing_mm: in-plane and slice spacing (x, y, z) of the training slices, (x, y) of single 2D images; None where
            they had none or several.
        hu_clip: HU range that the training slices were clipped to, None where unknown.
    """

    detector: str
    backbone: str
    width: float
    norm: str
    fpn_channels: int
    strides: tuple[int, ...]
    anchor_sizes_px: tuple[tuple[float, ...], ...]
    in_channels: int
    hu_window: tuple[float, float]
    magnify: float
    categories: dict[int, str]
    aspect_ratios: tuple[float, ...] = (1.0,)
    head_units: int = 256
    proposals_train: int = 100
    proposals_test: int = 60
    sampled_anchors: int = 128
    sampled_proposals: int = 64
    input_mean: tuple[float, ...] = field(default=())
    input_std: tuple[float, ...] = field(default=())
    nms_iou: float = 0.3
    score_threshold: float = 0.05
    max_detections: int = 100
    spacing_mm: tuple[float, float, float] | tuple[float, float] | None = None
    hu_clip: tuple[float, float] | None = None

    @property
    def category_ids(self) -> tuple[int, ...]:
        """COCO category of network label 1, 2, ..."""
        return tuple(sorted(self.categories))

    @property
    def classes(self) -> int:
        """Number of network classes, background included."""
        return len(self.categories) + 1

    def to_json(self) -> str:
        """One line of JSON with sorted keys."""
        return json.dumps({"schema": SCHEMA, **dataclasses.asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """The card of :meth:`to_json`; keys that are not known are left alone.

        Raises:
            InputError: not a card, or one of another schema.
        """
        try:
            record = json.loads(text)
            if record["schema"] != SCHEMA:
                raise InputError(f"model card of schema {record['schema']!r}, expected {SCHEMA!r}")
            known = {one.name for one in dataclasses.fields(cls)}
            values = {key: _frozen(value) for key, value in record.items() if key in known}
            values["categories"] = {int(key): str(name) for key, name in record["categories"].items()}
            return cls(**values)
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise InputError(f"not a model card ({type(problem).__name__}: {problem})") from None


def _frozen(value: Any) -> Any:
    return tuple(_frozen(one) for one in value) if isinstance(value, list) else value
