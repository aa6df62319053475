"""A network that can be understood: its score is a known function of known pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lungct.explain.scorers import Scores
from lungct.game.faithfulness.asked import Making
from lungct.game.faithfulness.base import Case, Settings
from lungct.types import Detections

SHAPE = (40, 48)
BOX = (20.0, 10.0, 30.0, 20.0)


@dataclass
class Subject:
    """What a case reads of an opened network."""

    image_hu: np.ndarray
    image: Tensor
    detections: Detections
    scorer: Any
    lung_value: float = 0.0


@dataclass
class MeanOver:
    """The score is the mean brightness of some pixels of the middle channel, times a contrast to a grey of .2."""

    pixels: np.ndarray
    passes: int = 0

    def __call__(self, batch: Tensor) -> Scores:
        self.passes += len(batch)
        score = batch[:, 1][:, torch.from_numpy(self.pixels)].mean(dim=1, keepdim=True)
        return Scores(score, torch.zeros_like(score, dtype=torch.bool))


def box_pixels(box: tuple[float, ...] = BOX) -> np.ndarray:
    x1, y1, x2, y2 = map(int, box)
    mask = np.zeros(SHAPE, bool)
    mask[y1:y2, x1:x2] = True
    return mask


def case_of(heatmap: np.ndarray, pixels: np.ndarray | None = None, **settings: Any) -> Case:
    """A bright box on black, scored by ``pixels``, by default those of the box, and this map of it."""
    image = torch.zeros(3, *SHAPE)
    image[:, torch.from_numpy(box_pixels())] = 0.9
    found = Detections(1, np.array([BOX], np.float32), np.array([0.9], np.float32), np.array([1]))
    scorer = MeanOver(box_pixels() if pixels is None else pixels)
    subject = Subject(np.zeros((3, *SHAPE), np.int16), image, found, scorer)
    options = Settings((), **settings)
    return Case(None, subject, np.zeros(1, bool), 0, heatmap, "other", Making(), options)  # type: ignore[arg-type]
