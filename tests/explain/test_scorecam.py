"""Score-CAM against a plain loop over the paper's formula, and against pytorch-grad-cam where their weights agree."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lungct.explain.base import MethodOptions, Subject, finish
from lungct.explain.geometry import Geometry
from lungct.explain.masked_channels import weights_of
from lungct.explain.scorecam import scorecam
from lungct.explain.scorers import Scores
from lungct.types import Detections


class Classifier(nn.Module):
    """Two convolutions at full resolution, so that every way of upsampling agrees, and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.Sigmoid())
        self.head = nn.Linear(6 * 4, 4)

    def forward(self, images: Tensor) -> Tensor:
        pooled = F.adaptive_max_pool2d(self.features(images), 2).flatten(1)
        scores: Tensor = (4 * self.head(pooled)).softmax(-1)
        return scores


@dataclasses.dataclass
class ClassScorer:
    """Class probabilities as if each class were a detection."""

    network: nn.Module
    classes: list[int]
    seen: list[int] = dataclasses.field(default_factory=list)

    def __call__(self, batch: Tensor) -> Scores:
        self.seen.append(len(batch))
        score = self.network(batch)[:, self.classes]
        return Scores(score, torch.zeros_like(score, dtype=torch.bool))


def subject_of(network: Classifier, image: Tensor, classes: list[int]) -> Subject:
    shape = (image.shape[1], image.shape[2])
    with torch.inference_mode():
        activations = network.features(image[None])[0]
    boxes = np.tile(np.array([2, 2, 8, 8], np.float32), (len(classes), 1))
    detections = Detections("x", boxes, np.ones(len(classes), np.float32), np.ones(len(classes), np.int64))
    return Subject(
        np.zeros((3, *shape), np.int16),
        image,
        detections,
        np.zeros(len(classes), np.int64),
        {0: activations},
        Geometry(shape, shape, shape, shape),
        ClassScorer(network, classes),
    )


def by_the_formula(network: Classifier, image: Tensor, label: int, weights: str, baseline: Tensor) -> np.ndarray:
    """One channel at a time: S_k = f(X . H_k + X_b . (1 - H_k)) - f(X_b)."""
    with torch.no_grad():
        activations = network.features(image[None])[0]
        rises = []
        for channel in activations:
            mask = (channel - channel.min()) / (channel.max() - channel.min())
            masked = image * mask + baseline * (1 - mask)
            rises.append(float(network(masked[None])[0, label] - network(baseline[None])[0, label]))
    s = np.array(rises)
    w = np.maximum(s, 0) if weights == "linear" else np.exp(s) / np.exp(s).sum()
    return sum(w[k] * activations[k].numpy() for k in range(len(w)))


@pytest.fixture
def image() -> Tensor:
    return torch.rand(3, 14, 11, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("weights", ["linear", "softmax"])
@pytest.mark.parametrize("kind", ["zero", "mean"])
@pytest.mark.parametrize("batch", [1, 4, 16])
def test_equals_the_formula(image: Tensor, weights: str, kind: str, batch: int) -> None:
    network = Classifier()
    baseline = torch.zeros_like(image) if kind == "zero" else image.mean(dim=(1, 2), keepdim=True).expand_as(image)
    explanation = scorecam(
        subject_of(network, image, [1, 3]), MethodOptions(weights=weights, baseline=kind, batch=batch)
    )
    for raw, label in zip(explanation.raw, [1, 3], strict=True):
        np.testing.assert_allclose(raw, by_the_formula(network, image, label, weights, baseline), atol=1e-5)


def test_equals_pytorch_grad_cam_with_softmax_weights(image: Tensor) -> None:
    package = pytest.importorskip("pytorch_grad_cam")
    targets: Any = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    network = Classifier().eval()
    with package.ScoreCAM(network, [network.features]) as theirs:
        expected = theirs(image[None], [targets.ClassifierOutputTarget(2)])[0]
    subject = subject_of(network, image, [2])
    found, flags = finish(scorecam(subject, MethodOptions(weights="softmax")), subject.geometry)
    assert flags == ("",)
    np.testing.assert_allclose(found[0], expected, atol=2e-3)  # float16


def test_detections_share_the_masked_passes(image: Tensor) -> None:
    subject = subject_of(Classifier(), image, [0, 1, 2, 3])
    explanation = scorecam(subject, MethodOptions(batch=4))
    assert sum(subject.scorer.seen) == explanation.record["passes"] == 2 + 6  # type: ignore[attr-defined]


@pytest.mark.parametrize("weights", ["linear", "softmax"])
def test_a_constant_channel_costs_no_pass_and_changes_nothing(image: Tensor, weights: str) -> None:
    """Its S is f(X_b) - f(X_b) = 0 by definition: the full loop with an all-zero mask gives the same map."""
    network = Classifier()
    plain = subject_of(network, image, [1])
    with_constant = torch.cat((plain.activations[0], torch.full((1, 14, 11), 0.7)))
    subject = dataclasses.replace(plain, activations={0: with_constant}, scorer=ClassScorer(network, [1]))
    explanation = scorecam(subject, MethodOptions(weights=weights))
    assert explanation.record["passes"] == 2 + 6
    rise = np.array([0.0])
    with torch.no_grad():
        for channel in plain.activations[0]:
            mask = (channel - channel.min()) / (channel.max() - channel.min())
            change = network((image * mask)[None])[0, 1] - network(torch.zeros_like(image)[None])[0, 1]
            rise = np.append(rise, float(change))
    w = weights_of(np.r_[rise[1:], rise[:1]], weights)
    expected = np.tensordot(w, with_constant.numpy(), axes=1)
    np.testing.assert_allclose(explanation.raw[0], expected, atol=1e-5)


def test_no_rise_at_all_is_flagged_as_zero(image: Tensor) -> None:
    network = Classifier()
    subject = subject_of(network, image, [1])

    class Flat(ClassScorer):
        def __call__(self, batch: Tensor) -> Scores:
            score = torch.full((len(batch), 1), 0.5)
            return Scores(score, torch.zeros_like(score, dtype=torch.bool))

    subject = dataclasses.replace(subject, scorer=Flat(network, [1]))
    maps, flags = finish(scorecam(subject, MethodOptions()), subject.geometry)
    assert flags == ("zero",)
    assert not maps.any()


def test_equals_a_loop_through_a_real_detector(subject: Subject) -> None:
    """Each channel on its own through the detector's own scorer; the geometry is tested elsewhere."""
    explanation = scorecam(subject, MethodOptions(batch=5))
    zero = torch.zeros_like(subject.image)
    start = subject.scorer(zero[None]).score[0].numpy()
    for number, level in enumerate(subject.levels.tolist()):
        activations = subject.activations[level]
        total = np.zeros(activations.shape[1:])
        for channel in activations:
            mask = subject.geometry.to_slice(channel.numpy())  # magnify 1: slice and input are one grid
            mask = (mask - mask.min()) / (mask.max() - mask.min())
            score = subject.scorer((subject.image * torch.from_numpy(mask))[None]).score[0, number].item()
            total += max(score - start[number], 0) * channel.numpy()
        np.testing.assert_allclose(explanation.raw[number], total, atol=2e-4 * max(1, np.abs(total).max()))
