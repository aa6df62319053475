"""Every method that pytorch-grad-cam has, against it: on a classifier, and on one detection of every detector.

Where it departs from the papers, the test departs with it: masks stretched corner to corner, 1e-6 in Grad-CAM++'s
denominator, and channels ablated to zero by a layer of our own, since its own sets those of levels with negative values
to -1e7.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from lungct.explain import gradcampp
from lungct.explain.base import Explanation, MethodOptions, Subject, load_method
from lungct.explain.gradients import explain_by_gradients
from lungct.explain.network import Network
from lungct.explain.targets import open_image

from .classifier import StretchedGeometry, subject_of
from .conftest import DETECTORS, boxes_at, disc_slice, untrained

pgc = pytest.importorskip("pytorch_grad_cam")
scale_cam_image = pytest.importorskip("pytorch_grad_cam.utils.image").scale_cam_image

THEIRS = {
    "gradcam": pgc.GradCAM,
    "gradcampp": pgc.GradCAMPlusPlus,
    "hirescam": pgc.HiResCAM,
    "layercam": pgc.LayerCAM,
    "ablationcam": pgc.AblationCAM,
    "scorecam": pgc.ScoreCAM,
    "eigencam": pgc.EigenCAM,
}


class ZeroAblation(pgc.ablation_layer.AblationLayer):  # type: ignore[misc, name-defined]
    """Sets channels to zero, as the paper does."""

    def __call__(self, x: Tensor) -> Tensor:
        output = self.activations
        for place in range(output.size(0)):
            output[place, self.indices[place]] = 0
        return output


def number(place: int, output: Tensor) -> Tensor:
    return output[..., place]


def theirs(name: str, network: nn.Module, layer: nn.Module, image: Tensor, place: int) -> np.ndarray:
    more: dict[str, Any] = {"ablation_layer": ZeroAblation()} if name == "ablationcam" else {}
    with THEIRS[name](network, [layer], **more) as cam:
        map_: np.ndarray = cam(image[None], [partial(number, place)])[0]
    return map_


def ours(name: str, subject: Subject) -> Explanation:
    if name == "gradcampp":
        return explain_by_gradients(subject, MethodOptions(), with_their_constant)
    return load_method(name)(subject, MethodOptions(weights="softmax", centred=True))


def with_their_constant(activations: Tensor, gradient: Tensor) -> Tensor:
    return torch.tensordot(gradcampp.weights_of(activations, gradient, added=1e-6), activations, dims=1)


def finished(raw: np.ndarray, image: Tensor) -> np.ndarray:
    """Their own last steps on our raw map."""
    size = (image.shape[2], image.shape[1])
    return scale_cam_image(np.maximum(scale_cam_image(np.maximum(raw, 0)[None], size), 0))[0]  # type: ignore[no-any-return]


def check(name: str, network: nn.Module, layers: Sequence[nn.Module], subject: Subject) -> None:
    explanation = ours(name, subject)
    for place, raw in enumerate(explanation.raw):
        layer = layers[int(subject.levels[place])]
        expected = theirs(name, network, layer, subject.image, place)
        found = finished(raw, subject.image)
        if name == "eigencam":  # the sign is free, and only what is positive is left of theirs
            found = min((found, finished(-raw, subject.image)), key=lambda one: np.abs(one - expected).max())
        np.testing.assert_allclose(found, expected, atol=1e-4)
        assert found.max() > 0.99 or raw.max() <= 0
    assert any(raw.max() > 0 for raw in explanation.raw)


class Residual(nn.Module):
    """torchvision's ResNet18, untrained, with four of its classes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.network: Any = resnet18().eval()

    def features(self, batch: Tensor) -> Tensor:
        """Up to the first stage."""
        of = self.network
        return of.layer1(of.maxpool(of.relu(of.bn1(of.conv1(batch)))))  # type: ignore[no-any-return]

    def rest(self, activations: Tensor) -> Tensor:
        """From there on."""
        of = self.network
        deep = of.layer4(of.layer3(of.layer2(activations)))
        return of.fc(of.avgpool(deep).flatten(1))[:, [7, 100, 300, 700]]  # type: ignore[no-any-return]

    def forward(self, batch: Tensor) -> Tensor:
        return self.rest(self.features(batch))


@functools.cache
def residual() -> Residual:
    return Residual()


@pytest.mark.parametrize("name", THEIRS)
def test_a_torchvision_classifier(name: str) -> None:
    image = torch.rand(3, 32, 24, generator=torch.Generator().manual_seed(5))
    network = residual()
    subject = subject_of(network, network.features, network.rest, image, [0, 1, 2, 3])
    check(name, network, [network.network.layer1], subject)


@functools.cache
def of_kind(detector: str) -> Network:
    return Network(untrained(detector))


class AtPlaces(nn.Module):
    """The scores of fixed places of a detector, as a network of its own."""

    def __init__(self, network: Network, subject: Subject) -> None:
        super().__init__()
        self.detector, self.network, self.places = network.model.detector, network, subject.head.places  # type: ignore[union-attr]

    def forward(self, batch: Tensor) -> Tensor:
        return self.places.values(self.network.pyramid(self.network.prepare(batch)), "score")


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("name", THEIRS)
def test_one_target_of_a_detector(name: str, detector: str) -> None:
    network = of_kind(detector)
    image_hu = disc_slice((30, 40), 6, shape_yx=(64, 48))  # of whole strides: they know no padding
    subject = open_image(network, image_hu, boxes_at((24, 34, 36, 46), (8, 10, 24, 20), (30, 2, 40, 12)))
    geometry = StretchedGeometry(**dataclasses.asdict(subject.geometry))
    layers = network.detector.backbone.fpn.layer_blocks
    check(name, AtPlaces(network, subject), layers, dataclasses.replace(subject, geometry=geometry))
