"""Losses against hand-made values, and the detectors' own against torchvision's in the same places."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import complete_box_iou_loss

from lungct.models.detector import build_detector
from lungct.models.fcos import centerness_of
from lungct.models.losses import Losses
from lungct.registry import BOX_LOSSES, DETECTORS

from .test_detector import small

BOXES = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 1.0, 3.0, 3.0]])
CODES = torch.tensor([[0.05, 0.0, 1.0, 0.0]]), torch.zeros(1, 4)
DISTANCE = 2 / 18
"""Squared distance of the two boxes' centres over the squared diagonal of the box around both."""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("l1", 1.05),
        ("smooth_l1", 0.5 * 0.05**2 * 9 + (1 - 0.5 / 9)),
        ("giou", 1 - (1 / 7 - 2 / 9)),
        ("diou", 1 - 1 / 7 + DISTANCE),
        ("ciou", 1 - 1 / 7 + DISTANCE),
    ],
)
def test_box_losses_by_hand(name: str, expected: float) -> None:
    assert float(Losses(boxes=name).of_boxes(CODES, BOXES)) == pytest.approx(expected, rel=1e-5)


def test_ciou_adds_the_aspect() -> None:
    boxes = torch.tensor([[0.0, 0.0, 4.0, 2.0]]), torch.tensor([[1.0, 0.0, 3.0, 2.0]])
    aspect = 4 / math.pi**2 * (math.atan(1) - math.atan(2)) ** 2
    expected = 1 - 0.5 + aspect * aspect / (1 - 0.5 + aspect)
    assert float(Losses(boxes="ciou").of_boxes(CODES, boxes)) == pytest.approx(expected, rel=1e-4)
    assert float(Losses(boxes="diou").of_boxes(CODES, boxes)) == pytest.approx(0.5, rel=1e-5)


def test_ciou_is_torchvisions_and_finite_where_a_box_has_no_extent() -> None:
    random = torch.Generator().manual_seed(0)
    corners, extents = torch.rand(2, 50, 2, generator=random) * 20, torch.rand(2, 50, 2, generator=random) * 20 + 0.5
    first, second = torch.cat((corners, corners + extents), 2)
    first.requires_grad_()
    found, expected = Losses(boxes="ciou").of_boxes(CODES, (first, second)), complete_box_iou_loss(first, second)
    torch.testing.assert_close(found, expected.sum())
    torch.testing.assert_close(
        torch.autograd.grad(found, first)[0], torch.autograd.grad(expected.sum(), first)[0], rtol=1e-4, atol=1e-5
    )
    point = torch.tensor([[5.0, 5.0, 5.0, 5.0]], requires_grad=True)
    loss = Losses(boxes="ciou").of_boxes(CODES, (point, second[:1]))
    assert bool(torch.isfinite(loss) and torch.isfinite(torch.autograd.grad(loss, point)[0]).all())


def test_class_losses_by_hand() -> None:
    logits, wanted = torch.tensor([0.0, math.log(3.0)]), torch.tensor([1.0, 0.0])
    focal = 0.25 * 0.5**2 * math.log(2) + 0.75 * 0.75**2 * math.log(4)
    assert float(Losses("focal").of_sigmoids(logits, wanted)) == pytest.approx(focal)
    assert float(Losses("cross-entropy").of_sigmoids(logits, wanted)) == pytest.approx(math.log(2) + math.log(4))
    pair, labels = torch.tensor([[0.0, 0.0], [0.0, math.log(3.0)], [0.0, 0.0]]), torch.tensor([1, 0, 1])
    focal = (2 * 0.25 * 0.5**2 * math.log(2) + 0.75 * 0.75**2 * math.log(4)) / 2
    assert float(Losses("focal").of_softmax(pair, labels)) == pytest.approx(focal)
    assert float(Losses("cross-entropy").of_softmax(pair, labels)) == pytest.approx((2 * math.log(2) + math.log(4)) / 3)


def test_focal_without_focus_is_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(9, 3), torch.randint(0, 3, (9,))
    flat = Losses("focal", alpha=0.5, gamma=0.0).of_softmax(logits, labels) * (labels > 0).sum() * 2
    assert float(flat) == pytest.approx(float(Losses("cross-entropy").of_softmax(logits, labels)) * 9, rel=1e-5)


def test_centerness_by_hand() -> None:
    found = centerness_of(torch.tensor([[2.0, 3.0, 2.0, 3.0], [1.0, 1.0, 4.0, 1.0]]))
    assert found.tolist() == pytest.approx([1.0, 0.5])


def _step(detector: Any) -> dict[str, float]:
    torch.manual_seed(3)
    images = [torch.rand(3, 64, 64), torch.rand(3, 64, 80)]
    targets = [
        {"boxes": torch.tensor([[10.0, 10.0, 22.0, 24.0], [30.0, 40.0, 38.0, 47.0]]), "labels": torch.tensor([1, 2])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    return {name: float(one.detach()) for name, one in detector.train()(images, targets).items()}


def _own_and_torchvisions(name: str, monkeypatch: pytest.MonkeyPatch, parts: dict[str, Any]) -> None:
    torch.manual_seed(0)
    card = dataclasses.replace(small(name), categories={1: "benign", 2: "malignant"}, norm="group", width=0.25)
    detector: Any = build_detector(card)
    with torch.no_grad():
        for one in detector.parameters():
            one.add_(0.02 * torch.randn_like(one))  # fresh predictors answer zero everywhere
    own = _step(detector)
    for part, method in parts.items():
        module = detector.get_submodule(part)
        monkeypatch.setattr(module, method.__name__, method.__get__(module))
    assert own == pytest.approx(_step(detector), rel=1e-4)
    assert all(value > 0 for value in own.values())


def test_faster_rcnns_proposal_losses_are_torchvisions(monkeypatch: pytest.MonkeyPatch) -> None:
    _own_and_torchvisions("faster-rcnn", monkeypatch, {"rpn": RegionProposalNetwork.compute_loss})


def test_faster_rcnns_box_losses_are_torchvisions() -> None:
    torch.manual_seed(0)
    heads: Any = build_detector(small("faster-rcnn")).roi_heads
    logits, deltas, codes = torch.randn(12, 3), torch.randn(12, 12), torch.randn(12, 4)
    labels = torch.tensor([0, 1, 2] * 4)
    proposals = torch.tensor([[10.0, 10.0, 30.0, 26.0]]).repeat(12, 1)
    expected = fastrcnn_loss(logits, deltas, [labels], [codes])
    found = heads._losses(logits, deltas, proposals, labels, codes)
    assert [float(one) for one in found.values()] == pytest.approx([float(one) for one in expected])
    assert isinstance(heads, RoIHeads)


def test_retinanets_losses_are_torchvisions(monkeypatch: pytest.MonkeyPatch) -> None:
    _own_and_torchvisions("retinanet", monkeypatch, {"head": RetinaNetHead.compute_loss})


def test_retinanet_learns_nothing_from_anchors_between_its_thresholds() -> None:
    torch.manual_seed(0)
    head: Any = build_detector(small("retinanet")).head
    outputs = {"cls_logits": torch.randn(1, 6, 2), "bbox_regression": torch.randn(1, 6, 4)}
    anchors = [torch.tensor([[10.0, 10.0, 22.0, 22.0]]).repeat(6, 1)]
    targets = [{"boxes": torch.tensor([[10.0, 10.0, 22.0, 24.0]]), "labels": torch.tensor([1])}]
    matched = [torch.tensor([0, -1, -2, -2, 0, -1])]
    expected = RetinaNetHead.compute_loss(head, targets, outputs, anchors, matched)
    found = head.compute_loss(targets, outputs, anchors, matched)
    assert {name: float(one) for name, one in found.items()} == pytest.approx(
        {name: float(one) for name, one in expected.items()}
    )


def test_fcos_losses_are_torchvisions(monkeypatch: pytest.MonkeyPatch) -> None:
    _own_and_torchvisions("fcos", monkeypatch, {"head": FCOSHead.compute_loss})


@pytest.mark.parametrize("box_loss", [one for one in BOX_LOSSES if one != "auto"])
@pytest.mark.parametrize("name", list(DETECTORS))
def test_every_loss_teaches_the_boxes_and_the_proposals(name: str, box_loss: str) -> None:
    torch.manual_seed(0)
    found = {}
    for class_loss in ("focal", "cross-entropy"):
        torch.manual_seed(0)
        detector = build_detector(small(name, width=0.25, norm="group"), Losses(class_loss, boxes=box_loss))
        found[class_loss] = _step_with_one_class(detector)
    assert all(math.isfinite(value) for one in found.values() for value in one.values())
    different = {loss for loss in found["focal"] if found["focal"][loss] != found["cross-entropy"][loss]}
    assert (
        different
        == {
            "faster-rcnn": {"loss_classifier", "loss_objectness"},
            "retinanet": {"classification"},
            "fcos": {"classification"},
        }[name]
    )


def _step_with_one_class(detector: Any) -> dict[str, float]:
    torch.manual_seed(3)
    target = {"boxes": torch.tensor([[10.0, 10.0, 22.0, 24.0]]), "labels": torch.tensor([1])}
    losses: dict[str, Tensor] = detector.train()([torch.rand(3, 64, 64)], [target])
    torch.stack(list(losses.values())).sum().backward()
    assert any(float(one.grad.abs().sum()) > 0 for one in detector.parameters() if one.grad is not None)
    return {name: float(one.detach()) for name, one in losses.items()}


def test_the_detectors_are_still_torchvisions() -> None:
    assert isinstance(build_detector(small("faster-rcnn")), FasterRCNN)
    assert isinstance(build_detector(small("retinanet")), RetinaNet)
