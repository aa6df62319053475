"""The facts of a pair are those of the detector that is trained."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import mobilenet_v2

from lungct.models.detector import build_detector
from lungct.registry import BACKBONES, DETECTORS
from lungct.training.summary import all_model_facts, model_facts
from tests.models.test_detector import CARD


def test_every_pair_is_described_and_no_two_alike() -> None:
    found = all_model_facts()
    assert [(one.detector, one.backbone) for one in found] == [(a, b) for a in DETECTORS for b in BACKBONES]
    assert len({one.parameters for one in found}) == len({one.gflops for one in found}) == len(found)
    assert {one.anchors for one in found if one.detector == "fcos"} == {0}
    assert all("GFLOPs at 224 px" in str(one) for one in found)


def test_parameters_and_operations_are_those_of_the_real_network() -> None:
    card = dataclasses.replace(
        CARD,
        detector="retinanet",
        width=1.0,
        norm="folded",
        fpn_channels=96,
        anchor_sizes_px=((8.0, 9.0, 10.0),) * 3,
        in_channels=3,
    )
    network = build_detector(card).eval()
    facts = model_facts("retinanet", "mobilenet-v2")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network([torch.zeros(3, 224, 224)])
    assert facts.parameters == sum(one.numel() for one in network.parameters())
    assert facts.gflops == pytest.approx(counter.get_total_flops() / 1e9, abs=0.01)


def test_operations_of_a_known_network() -> None:
    """MobileNetV2 is published with 300 million multiplications at 224 px; the counter calls that .6 GFLOPs."""
    with torch.device("meta"):
        network = mobilenet_v2().eval()
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, 224, 224, device="meta"))
    assert counter.get_total_flops() == pytest.approx(0.6e9, rel=0.05)
