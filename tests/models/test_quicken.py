"""A quickened detector answers as before."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import nn

from lungct.models.detector import LoadedModel, build_detector
from lungct.models.quicken import quickened
from tests.inference.test_predict import CARD


@pytest.mark.parametrize(("detector", "backbone"), [("faster-rcnn", "mobilenet-v2"), ("retinanet", "resnet50")])
def test_norms_are_folded_and_answers_stay(detector: str, backbone: str) -> None:
    torch.manual_seed(0)
    width = CARD.width if backbone == "mobilenet-v2" else 1.0
    card = dataclasses.replace(CARD, detector=detector, backbone=backbone, width=width, score_threshold=0.0)
    slow = build_detector(card).eval()
    norms = [one for one in slow.modules() if isinstance(one, nn.BatchNorm2d)]
    for one in norms:  # as after training: untouched ones would fold to nearly nothing
        one.running_mean.normal_(0, 0.1)
        one.running_var.uniform_(0.5, 2)
    quick = quickened(LoadedModel(copy.deepcopy(slow), card)).detector
    left = [one for one in quick.modules() if isinstance(one, nn.BatchNorm2d)]
    assert len(left) < len(norms)
    if backbone == "mobilenet-v2":
        assert not left
    images = [torch.rand(3, 48, 64)]
    with torch.inference_mode():
        before, after = slow(images)[0], quick(images)[0]
    assert len(before["scores"]) == len(after["scores"]) > 0
    torch.testing.assert_close(after["scores"], before["scores"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after["boxes"], before["boxes"], atol=1e-2, rtol=1e-4)
