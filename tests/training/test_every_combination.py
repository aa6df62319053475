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

STEPS = 6
SIZE_PX = 48
LOSSES = [pair for pair in itertools.product(CLASS_LOSSES, BOX_LOSSES) if "auto" not in pair]


@pytest.mark.slow
@pytest.mark.parametrize(("class_loss", "box_loss"), LOSSES)
@pytest.mark.parametrize("backbone", list(BACKBONES))
@pytest.mark.parametrize("detector", list(DETECTORS))
def test_it_learns(detector: str, backbone: str, class_loss: str, box_loss: str) -> None:
    given = {"detector": detector, "backbone": backbone, "class_loss": class_loss, "box_loss": box_loss}
    options = preset_options("tiny", {**given, "amp": "off"})
    card = small(detector, backbone, width=0.25, norm="group")
    learner = make_learner(card, options, None, torch.device("cpu"), "")
    assert type(learner.detector) is type(build_detector(card))
    image = torch.rand(card.in_channels, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(0)) * 0.1
    image[:, 10:24, 14:26] = 0.9
    target = {
        "boxes": torch.tensor([[14.0, 10.0, 26.0, 24.0]]),
        "labels": torch.tensor([1]),
        "draw": torch.tensor(0),  # the same samples in every step, so that losses can be compared
    }
    learner.detector.train()
    losses = []
    for _ in range(STEPS):
        learner.begin(1e-3)
        losses.append(learner.look(([image], [target]), 1.0)["loss"])
        learner.finish()
    assert all(map(math.isfinite, losses))
    assert sum(losses[-2:]) / 2 < losses[0]
