"""What an explanation method is given and returns, how its name is resolved, and how its maps are finished."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lungct import registry
from lungct.errors import UsageError
from lungct.explain.geometry import Geometry
from lungct.types import Detections, FloatArray, IntArray

if TYPE_CHECKING:
    import torch

    from lungct.explain.heads import Head
    from lungct.explain.scorers import Scorer


@dataclass(frozen=True)
class MethodOptions:
    """What can be set for the methods.

    Attributes:
        centred: subtract each channel's mean before EigenCAM's decomposition (the paper does not).
        weights: the Score-CAM family's weights, one of ``registry.WEIGHTS``.
        baseline: what a masked pixel becomes, one of ``registry.BASELINES``.
        batch: changed images per forward pass; 0 for as many as pay on the device.
        seed: of every random mask, noise and control.
        preset: SS-CAM's noise, a name of ``registry.SSCAM_PRESETS``.
        samples: passes per channel of SS-CAM and IS-CAM; 0 for each one's own.
        masks: of D-RISE; 0 for the paper's.
        share: of each method's own samples or masks, where none are given; what a budget of time leaves of them.
        patch_mm, stride_mm: side of the occluding patch, and how far it moves; stride 0 for half the side.
        approximate: a name of ``registry.APPROXIMATIONS``, or empty for the method itself.
    """

    centred: bool = False
    weights: str = "linear"
    baseline: str = "zero"
    batch: int = 0
    seed: int = 0
    preset: str = "paper"
    samples: int = 0
    masks: int = 0
    patch_mm: float = registry.PATCH_MM
    stride_mm: float = 0.0
    approximate: str = ""
    share: float = 1.0

    def repeats(self, given: int, own: int, least: int) -> int:
        """How often a method that repeats itself does so."""
        return given or max(min(least, own), int(own * self.share))


@dataclass(frozen=True, eq=False)
class Subject:
    """One image, its detections, and the network opened at them.

    What is explained is behind ``scorer`` and ``head`` alone: a classifier whose classes stand in the place of
    detections is explained by the same methods.

    Attributes:
        image_hu: (C, Y, X) int16 stored slice.
        image: (C, H, W) float32 in 0..1, what the network is given.
        detections: the D detections to explain, boxes in stored-slice pixels.
        levels: (D,) pyramid level each detection is read from.
        activations: level -> (C, h, w) what the level holds.
        geometry: how map cells, network pixels and slice pixels relate.
        scorer: the detections' target on changed images.
        head: the target from changed activations of one level; None where ``scorer`` detects anew.
        similarity: D-RISE's own score, None where it takes ``scorer``.
        layer_names: level -> what it is called.
        spacing_mm_yx: of the stored slice, None where unknown.
        lung_value: what aerated lung is in ``image``.
    """

    image_hu: NDArray[np.int16]
    image: torch.Tensor
    detections: Detections
    levels: IntArray
    activations: Mapping[int, torch.Tensor]
    geometry: Geometry
    scorer: Scorer
    head: Head | None = None
    similarity: Scorer | None = None
    layer_names: Mapping[int, str] = field(default_factory=dict)
    spacing_mm_yx: tuple[float, float] | None = None
    lung_value: float = 0.0

    @property
    def layers(self) -> list[str]:
        """The names of the levels that the D detections are read from."""
        return [self.layer_names.get(level, str(level)) for level in self.levels.tolist()]

    def by_level(self) -> Iterator[tuple[int, IntArray]]:
        """Each level that is read, and the numbers of its detections."""
        for level in np.unique(self.levels).tolist():
            yield level, np.flatnonzero(self.levels == level)


@dataclass(frozen=True)
class Cost:
    """What a method asks of one subject: ``images`` passes of the network, ``heads`` passes of what is after a level.

    ``backwards`` of the latter go back, too.
    """

    images: int = 0
    heads: int = 0
    backwards: int = 0


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
Costing: TypeAlias = Callable[[Subject, MethodOptions], Cost]


def load_method(name: str) -> Method:
    """The function of a method of the registry; its module lists it in ``METHODS``."""
    module = importlib.import_module(registry.METHODS[name].module)
    methods: Mapping[str, Method] = module.METHODS
    return methods[name]


def cost_of(name: str, subject: Subject, options: MethodOptions) -> Cost:
    """What a method would cost on a subject; its module tells by ``COSTS``, and asks nothing where it has none."""
    module = importlib.import_module(registry.METHODS[name].module)
    costs: Mapping[str, Costing] = getattr(module, "COSTS", {})
    return costs[name](subject, options) if name in costs else Cost()


def head_of(subject: Subject) -> Head:
    """The head of a subject, for the methods that change activations.

    Raises:
        UsageError: its scorer detects anew, which is neither differentiable nor begins at a level.
    """
    if subject.head is None:
        raise UsageError("a method that works on activations needs a fixed place: use --scorer roi")
    return subject.head


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
