"""What an explanation method is given and returns, how its name is resolved, and how its maps are finished."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lungct import registry
from lungct.explain.geometry import Geometry
from lungct.types import Detections, FloatArray, IntArray

if TYPE_CHECKING:
    import torch

    from lungct.explain.scorers import Scorer


@dataclass(frozen=True)
class MethodOptions:
    """What can be set for the methods.

    Attributes:
        centred: subtract each channel's mean before EigenCAM's decomposition (the paper does not).
        weights: Score-CAM's weights: ``linear``, the rise over the baseline with falls cut, or the paper's ``softmax``.
        baseline: what a masked pixel becomes: ``zero``, air in a lung window, or the image's ``mean``.
        batch: masked images per forward pass; 0 for as many as pay on the device.
        seed: of the random control.
    """

    centred: bool = False
    weights: str = "linear"
    baseline: str = "zero"
    batch: int = 0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Subject:
    """One image, its detections, and the network opened at them.

    Attributes:
        image_hu: (C, Y, X) int16 stored slice.
        image: (C, H, W) float32 in 0..1, what the detector is given.
        detections: the D detections to explain, boxes in stored-slice pixels.
        levels: (D,) pyramid level each detection is read from.
        activations: level -> (C, h, w) output of the feature pyramid.
        geometry: how map cells, network pixels and slice pixels relate.
        scorer: the detections' scores on changed images.
    """

    image_hu: NDArray[np.int16]
    image: torch.Tensor
    detections: Detections
    levels: IntArray
    activations: Mapping[int, torch.Tensor]
    geometry: Geometry
    scorer: Scorer


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a method says of D detections.

    Attributes:
        raw: D signed float maps: (h, w) of feature cells, or (Y, X) on the slice if ``on_slice``.
        on_slice: whether the maps are on the slice's grid already.
        rectify: whether values below zero speak against the detection and are cut from the heatmap.
        may_be_constant: whether a constant map is what was asked for (the control) and no failure.
        layers: D names of where each map was read.
        record: JSON-ready facts for the provenance.
    """

    raw: Sequence[FloatArray]
    layers: Sequence[str]
    on_slice: bool = False
    rectify: bool = False
    may_be_constant: bool = False
    record: Mapping[str, Any] = field(default_factory=dict)


Method: TypeAlias = Callable[[Subject, MethodOptions], Explanation]


def load_method(name: str) -> Method:
    """The function of a method of the registry; its module lists it in ``METHODS``."""
    module = importlib.import_module(registry.METHODS[name].module)
    methods: Mapping[str, Method] = module.METHODS
    return methods[name]


def finish(explanation: Explanation, geometry: Geometry) -> tuple[NDArray[np.float16], tuple[str, ...]]:
    """(D, Y, X) float16 maps in 0..1 on the stored slice, and a flag each: empty, ``nan``, ``zero``, ``constant``."""
    maps = np.zeros((len(explanation.raw), *geometry.slice_yx), dtype=np.float16)
    flags = []
    for number, raw in enumerate(explanation.raw):
        values = np.maximum(raw, 0) if explanation.rectify else raw
        values = values if explanation.on_slice else geometry.to_slice(values)
        maps[number], flag = normalised(values)
        if flag == "constant" and explanation.may_be_constant:
            maps[number], flag = 0.5, ""
        flags.append(flag)
    return maps, tuple(flags)


def normalised(values: FloatArray) -> tuple[FloatArray, str]:
    """Min-max a map to 0..1; a map that cannot be is returned as zeros, with the reason."""
    if not np.isfinite(values).all():
        return np.zeros_like(values), "nan"
    low, high = float(values.min()), float(values.max())
    if low == high == 0:
        return np.zeros_like(values), "zero"
    if high - low <= 1e-6 * max(abs(low), abs(high)):
        return np.zeros_like(values), "constant"
    return (values - low) / (high - low), ""


def stacked(raw: Sequence[FloatArray]) -> FloatArray:
    """D maps of different sizes as one (D, h, w) float32 array, short ones padded with NaN at the bottom and right."""
    height, width = (max((one.shape[axis] for one in raw), default=0) for axis in (0, 1))
    together = np.full((len(raw), height, width), np.nan, dtype=np.float32)
    for place, one in zip(together, raw, strict=True):
        place[: one.shape[0], : one.shape[1]] = one
    return together
