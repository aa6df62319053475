"""What a measure of faithfulness is given, one detection of an opened network and its map, and how it is found."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lungct import registry
from lungct.explain.base import Subject
from lungct.explain.batches import paying_batch
from lungct.explain.network import Network
from lungct.game.faithfulness.asked import Making
from lungct.game.saliency import Saliency
from lungct.types import BoolArray, FloatArray

Heats: TypeAlias = NDArray[np.float16]
"""(D, Y, X) maps."""


@dataclass(frozen=True)
class Settings:
    """How the measures are taken.

    Attributes:
        names: of ``registry.FAITHFULNESS``, those that need the model.
        steps: of the deletion and insertion curves.
        draws: noisy copies of a slice for the sensitivity.
        seed: of all noise and of the randomised weights.
    """

    names: Sequence[str]
    steps: int = 100
    draws: int = 4
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Case:
    """One map of one detection.

    Attributes:
        subject: the network opened at the image's detections.
        missed: (D,) which of them are true boxes that the detector did not find.
        number: which of them.
        heatmap: (Y, X) on the stored slice.
        method: that made it, a name of ``registry.METHODS`` if it can be run again.
        made: how, as far as known.
        again: maps of all the image's detections by this method that were made again, by what was changed.
    """

    network: Network
    subject: Subject
    missed: BoolArray
    number: int
    heatmap: FloatArray
    method: str
    made: Making
    settings: Settings
    again: dict[Hashable, Heats] = field(default_factory=dict)
    curves: dict[str, FloatArray] = field(default_factory=dict)

    @cached_property
    def order(self) -> FloatArray:
        """(Y, X) rank of each pixel, 0 the hottest; ties in an order that is random but the same in every run."""
        saliency = Saliency(self.heatmap)
        jitter = np.random.default_rng(self.settings.seed).random(saliency.level.size)
        ranks = np.empty(saliency.level.size)
        ranks[np.lexsort((jitter, saliency.level))] = np.arange(saliency.level.size)
        return ranks.reshape(self.heatmap.shape)

    @cached_property
    def area_px(self) -> int:
        """Pixels of the detection's box on the slice."""
        x1, y1, x2, y2 = (float(edge) for edge in self.subject.detections.boxes_xyxy_px[self.number])
        return max(1, round((x2 - x1) * (y2 - y1)))

    @cached_property
    def score(self) -> float:
        """Of the detection on the unchanged image, by the scorer."""
        return float(self.scores([self.subject.image])[0])

    def on_input(self, plane: FloatArray | Tensor) -> Tensor:
        """(H, W) a (Y, X) plane of the slice on the detector's input, each pixel repeated."""
        values = torch.as_tensor(np.asarray(plane), dtype=torch.float32, device=self.subject.image.device)
        size = (self.subject.image.shape[-2], self.subject.image.shape[-1])
        return F.interpolate(values[None, None], size=size, mode="nearest-exact")[0, 0]

    def scores(self, images: Sequence[Tensor] | Iterator[Tensor]) -> FloatArray:
        """(N,) score of this detection on N changed inputs, made one after the other and scored in batches."""
        batch, found, waiting = paying_batch(self.subject.image), [], []
        for image in images:
            waiting.append(image)
            if len(waiting) == batch:
                found.append(self._scored(waiting))
                waiting = []
        if waiting:
            found.append(self._scored(waiting))
        return np.concatenate(found)

    def _scored(self, images: Sequence[Tensor]) -> FloatArray:
        scores = self.subject.scorer(torch.stack(list(images))).score[:, self.number]
        found: FloatArray = scores.double().cpu().numpy()
        return found


Measure: TypeAlias = Callable[[Case], Mapping[str, float]]
"""Measure name -> value, NaN where there is none; one function may give several from the same passes."""


def load_measures(names: Sequence[str]) -> list[Measure]:
    """The functions that give the named measures, each once; a module names its own in ``MEASURE``."""
    modules = dict.fromkeys(registry.FAITHFULNESS[name].module for name in names)
    return [_measure_of(importlib.import_module(module)) for module in modules]


def _measure_of(module: Any) -> Measure:
    measure: Measure = module.MEASURE
    return measure
