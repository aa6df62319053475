"""Every detector on every backbone learns by every loss: in a few steps with one batch it is finite and falls."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from lungct.models.detector import build_detector
from lungct.registry import BACKBONES, BOX_LOSSES, CLASS_LOSSES, DETECTORS
from lungct.training.learner import make_learner
from lungct.training.options import preset_options
from tests.models.test_detector import small

STEPS = 12
LOSSES = [pair for pair in itertools.product(CLASS_LOSSES, BOX_LOSSES) if "auto" not in pair]


@pytest.mark.slow
@pytest.mark.parametrize(("class_loss", "box_loss"), LOSSES)
@pytest.mark.parametrize("backbone", list(BACKBONES))
@pytest.mark.parametrize("detector", list(DETECTORS))
def test_it_learns(detector: str, backbone: str, class_loss: str, box_loss: str) -> None:
    given = {"detector": detector, "backbone": backbone, "class_loss": class_loss, "box_loss": box_loss}
    options = preset_options("tiny", {**given, "amp": "off", "ema": 0.0})
    card = small(detector, backbone=backbone)
    learner = make_learner(card, options, None, torch.device("cpu"), "")
    assert type(learner.detector) is type(build_detector(card))
    random = torch.Generator().manual_seed(0)
    images, targets = [], []
    for place in (20, 34):
        image = torch.rand(card.in_channels, 64, 64, generator=random) * 0.1
        image[:, place : place + 12, place : place + 12] = 0.9
        images.append(image)
        box = torch.tensor([[float(place), place, place + 12, place + 12]])
        targets.append({"boxes": box, "labels": torch.tensor([1]), "draw": torch.tensor(place)})
    learner.detector.train()
    losses = []
    for _ in range(STEPS):
        learner.begin(1e-3)
        losses.append(learner.look((images, targets), 1.0)["loss"])
        learner.finish()
    assert all(map(math.isfinite, losses))
    assert min(losses[-3:]) < losses[0]
