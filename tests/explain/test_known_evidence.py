"""Networks whose reasons are known: a method that can find them must, and the controls must not."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import Tensor

from lungct import registry
from lungct.explain.base import MethodOptions, Subject, finish, load_method
from lungct.explain.network import Network
from lungct.explain.targets import open_image
from lungct.types import FloatArray

from .classifier import subject_of
from .conftest import boxes_at
from .handmade import CORNER_PX, brightness_detector

CLASS_AGNOSTIC = ("eigencam",)
EXPLAINING = tuple(name for name in registry.METHODS if name not in registry.CONTROLS)
ONE_AT_A_TIME = ("odam", "hirescam", "layercam", "reciprocam", "drise", "occlusion")
FROM_OUTSIDE = ("drise", "occlusion")
OPTIONS = MethodOptions(masks=700, samples=5, preset="thesis", baseline="lung", patch_mm=8.0)
NODULE, OTHER = (20.0, 36.0, 32.0, 48.0), (44.0, 8.0, 56.0, 20.0)


def lungs(*boxes: tuple[float, float, float, float]) -> np.ndarray:
    """(3, 64, 64) blank lung with a solid disc in each box."""
    image = np.full((3, 64, 64), -850, np.int16)
    y, x = np.mgrid[:64, :64] + 0.5
    for x1, y1, x2, y2 in boxes:
        image[:, np.hypot(x - (x1 + x2) / 2, y - (y1 + y2) / 2) <= (x2 - x1) / 2] = 30
    return image


def share(values: FloatArray, box: tuple[float, float, float, float], margin: int = 0) -> float:
    """Of a map's sum, what lies in a box grown by some pixels."""
    x1, y1, x2, y2 = (int(one) for one in box)
    inside = values[max(y1 - margin, 0) : y2 + margin, max(x1 - margin, 0) : x2 + margin]
    return float(inside.astype(np.float64).sum() / values.astype(np.float64).sum())


@functools.cache
def opened(*boxes: tuple[float, float, float, float], of_corner: bool = False) -> Subject:
    network = Network(brightness_detector(of_corner=of_corner))
    image = lungs(*boxes)
    if of_corner:
        image[:, :CORNER_PX, :CORNER_PX] = 30
    given = boxes_at(*boxes)
    return open_image(network, image, given, missed=np.ones(len(given), bool), spacing_mm_xy=(0.7, 0.7))


def maps_of(name: str, subject: Subject, options: MethodOptions = OPTIONS) -> FloatArray:
    maps, flags = finish(load_method(name)(subject, options), subject.geometry)
    assert not any(flags)
    return maps.astype(np.float32)


@pytest.mark.parametrize("name", EXPLAINING)
def test_a_nodule_alone_in_blank_lung(name: str) -> None:
    subject = opened(NODULE)
    assert subject.detections.scores[0] > 0.9
    (found,) = maps_of(name, subject)
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert NODULE[1] <= row <= NODULE[3]
    assert NODULE[0] <= column <= NODULE[2]
    if name == "drise":  # its masks are blurs of 4 px cells, and every mask adds to every place
        assert found[36:48, 20:32].mean() > np.quantile(found, 0.95)
    else:
        assert share(found, NODULE, margin=8) > 0.9


@pytest.mark.parametrize("name", ONE_AT_A_TIME)
def test_the_map_of_one_nodule_does_not_light_the_other(name: str) -> None:
    subject = opened(NODULE, OTHER)
    first, second = maps_of(name, subject)
    assert share(first, OTHER) < 0.1
    assert share(second, NODULE) < 0.1
    assert share(first, NODULE) > 1.5 * share(first, OTHER)
    assert share(second, OTHER) > 1.5 * share(second, NODULE)


@pytest.mark.parametrize("name", FROM_OUTSIDE)
def test_a_detector_that_looks_at_a_corner_is_found_out(name: str) -> None:
    """It marks a dark place, and decides by the corner: what looks from outside sees that."""
    subject = opened(NODULE, of_corner=True)
    (found,) = maps_of(name, subject)
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert max(row, column) < CORNER_PX
    corner, nodule = found[:CORNER_PX, :CORNER_PX].mean(), found[36:48, 20:32].mean()
    assert corner > 1.3 * nodule


@pytest.mark.parametrize("name", registry.CONTROLS)
def test_no_control_finds_the_corner(name: str) -> None:
    subject = opened(NODULE, of_corner=True)
    maps, _ = finish(load_method(name)(subject, OPTIONS), subject.geometry)
    found = maps[0].astype(np.float32)
    assert found[:CORNER_PX, :CORNER_PX].mean() <= 1.1 * max(found[36:48, 20:32].mean(), 0.45)
    assert share(found, (0, 0, CORNER_PX, CORNER_PX)) < (0.5 if name == "edges" else 0.1)


CORNER = (0.0, 0.0, 6.0, 6.0)


def corner_features(batch: Tensor) -> Tensor:
    """Channel 0 is the image outside the corner, channel 1 the image inside it."""
    inside = torch.zeros(batch.shape[-2:])
    inside[:6, :6] = 1
    gray = batch.mean(dim=1, keepdim=True)
    return torch.cat((gray * (1 - inside), gray * inside), dim=1)


def corner_rest(activations: Tensor) -> Tensor:
    return activations[:, 1:, :6, :6].mean(dim=(2, 3))


@pytest.mark.parametrize("name", [*EXPLAINING, *registry.CONTROLS])
def test_a_classifier_that_looks_at_a_corner(name: str) -> None:
    image = 0.3 + 0.7 * torch.rand(3, 24, 24, generator=torch.Generator().manual_seed(1))
    subject = subject_of(lambda batch: corner_rest(corner_features(batch)), corner_features, corner_rest, image, [0])
    options = MethodOptions(masks=1000, samples=20, preset="thesis", patch_mm=2.1)
    maps, _ = finish(load_method(name)(subject, options), subject.geometry)
    found = share(maps[0].astype(np.float32), CORNER, margin=1)
    if name in registry.CONTROLS or name in CLASS_AGNOSTIC:
        assert found < 0.2
    elif name == "drise":
        assert maps[0][:6, :6].astype(np.float32).mean() > 2 * maps[0].astype(np.float32).mean()
    else:
        assert found > 0.9
