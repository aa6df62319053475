"""A stored slice as the network wants it, and the checks that a slice can serve a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lungct.data.view import magnified, to_unit
from lungct.errors import InputError
from lungct.models.card import ModelCard

SPACING_TOLERANCE = 0.05


def to_input(image_hu: NDArray[np.int16], card: ModelCard, *, name: str = "slice") -> Tensor:
    """(C, Y, X) int16 HU to (C, floor(Y m), floor(X m)) float32 in 0..1: the card's HU window and magnification.

    Raises:
        InputError: another number of channels than the model was trained with; ``name`` says which slice.
    """
    check_channels(image_hu, card, name=name)
    return magnified(to_unit(torch.from_numpy(np.ascontiguousarray(image_hu)), card.hu_window), card.magnify)


def check_channels(image_hu: NDArray[np.int16], card: ModelCard, *, name: str) -> None:
    """Refuse (C, Y, X) slices of another depth.

    Raises:
        InputError: another number of channels than the model was trained with.
    """
    if len(image_hu) != card.in_channels:
        raise InputError.of(
            name,
            f"has {len(image_hu)} channels, the model takes {card.in_channels}",
            f"select slices with --context {card.in_channels}",
        )


def check_serves(facts: Mapping[str, Any], card: ModelCard, *, name: str) -> None:
    """Refuse slices whose spacing or HU range differs from what the model was trained on.

    Args:
        facts: ``spacing_mm`` [x, y, z] and ``hu_clip`` [low, high] of the slice, where known (COCO ``image.lungct``).

    Raises:
        InputError: in-plane spacing off by more than 5 %, or values clipped inside the model's window.
    """
    hint = "preprocess it as the training data, or add --override"
    spacing = facts.get("spacing_mm")
    if spacing and card.spacing_mm:
        pairs = zip(spacing[:2], card.spacing_mm[:2], strict=True)
        if any(abs(math.log(float(ours) / theirs)) > SPACING_TOLERANCE for ours, theirs in pairs):
            ours_text, theirs_text = (" x ".join(f"{v:g}" for v in one[:2]) for one in (spacing, card.spacing_mm))
            raise InputError.of(name, f"pixels of {ours_text} mm, the model was trained on {theirs_text} mm", hint)
    clip = facts.get("hu_clip")
    needed = card.hu_window if card.hu_clip is None else _overlap(card.hu_window, card.hu_clip)
    if clip and (clip[0] > needed[0] or clip[1] < needed[1]):
        raise InputError.of(
            name, f"clipped to {clip[0]:g}..{clip[1]:g} HU, the model looks at {needed[0]:g}..{needed[1]:g}", hint
        )


def _overlap(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    return max(a[0], b[0]), min(a[1], b[1])
