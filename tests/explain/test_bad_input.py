"""What cannot be explained says so in a line, and never with a map that looks like one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lungct import registry
from lungct.errors import EnvironmentError_, InputError, UsageError
from lungct.explain.base import MethodOptions, finish, load_method
from lungct.explain.batches import in_batches
from lungct.explain.network import Network
from lungct.explain.scorers import Scores
from lungct.explain.targets import open_image
from lungct.models.detector import LoadedModel

from .conftest import boxes_at, card_of, disc_slice, untrained

OPTIONS = MethodOptions(samples=2, masks=20, patch_mm=8.0)
ALL = tuple(registry.METHODS)
EXPLAINING = tuple(name for name in ALL if name not in registry.CONTROLS)


def test_a_model_without_a_pyramid() -> None:
    class Plain(nn.Module):
        backbone = nn.Conv2d(3, 4, 3)

    with pytest.raises(InputError, match="no feature pyramid"):
        Network(LoadedModel(Plain(), card_of("faster-rcnn")))


@pytest.mark.parametrize("name", ALL)
def test_no_detections(name: str, model: LoadedModel) -> None:
    subject = open_image(Network(model), disc_slice((30, 40), 6), boxes_at(), spacing_mm_xy=(0.7, 0.7))
    maps, flags = finish(load_method(name)(subject, OPTIONS), subject.geometry)
    assert maps.shape == (0, 72, 64)
    assert flags == ()


@pytest.mark.parametrize(
    ("name", "detector"),
    [
        ("odam", "faster-rcnn"),
        ("odam", "retinanet"),
        ("scorecam", "faster-rcnn"),
        ("eigencam", "fcos"),
        ("scorecam", "fcos"),
    ],
)
def test_three_hundred_detections(name: str, detector: str) -> None:
    corners = np.random.default_rng(0).uniform(0, 50, (300, 2))
    boxes = boxes_at(*(tuple(np.r_[corner, corner + 10].tolist()) for corner in corners))
    subject = open_image(Network(untrained(detector)), disc_slice((30, 40), 6), boxes)
    maps, flags = finish(load_method(name)(subject, OPTIONS), subject.geometry)
    assert len(maps) == len(flags) == 300
    assert sum(not flag for flag in flags) > 50


@pytest.mark.parametrize("shape", [(3, 2), (40, 3)])
def test_an_image_smaller_than_a_stride(shape: tuple[int, int], model: LoadedModel) -> None:
    with pytest.raises(InputError, match="less than one cell of the finest level") as problem:
        open_image(Network(model), np.zeros((3, *shape), np.int16), boxes_at((0, 0, 2, 2)))
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("name", EXPLAINING)
def test_a_constant_image_gives_a_map_or_a_flag(name: str, model: LoadedModel) -> None:
    image_hu = np.full((3, 24, 32), -850, np.int16)
    subject = open_image(Network(model), image_hu, boxes_at((8, 8, 16, 16)), spacing_mm_xy=(0.7, 0.7))
    options = dataclasses.replace(OPTIONS, baseline="mean")
    maps, flags = finish(load_method(name)(subject, options), subject.geometry)
    assert np.isfinite(maps).all()
    assert bool(flags[0]) == (maps.max() == 0)


@pytest.mark.parametrize("name", EXPLAINING)
def test_overflow_is_flagged(name: str, model: LoadedModel) -> None:
    """As fp16 makes it: activations and scores that are no numbers."""
    subject = open_image(Network(model), disc_slice((30, 40), 6), boxes_at((24, 34, 36, 46)), spacing_mm_xy=(0.7, 0.7))

    def broken(batch: Tensor) -> Scores:
        score = torch.full((len(batch), 1), float("nan"))
        return Scores(score, torch.zeros_like(score, dtype=torch.bool))

    overflowing = {level: one * float("inf") for level, one in subject.activations.items()}
    subject = dataclasses.replace(subject, scorer=broken, similarity=None, activations=overflowing)
    maps, flags = finish(load_method(name)(subject, OPTIONS), subject.geometry)
    assert flags == ("nan",)
    assert not maps.any()


def test_methods_that_look_inside_refuse_a_scorer_that_detects_anew(model: LoadedModel) -> None:
    subject = open_image(Network(model), disc_slice((30, 40), 6), boxes_at((24, 34, 36, 46)), scorer="match")
    for name, entry in registry.METHODS.items():
        if entry.inside:
            with pytest.raises(UsageError, match="--scorer roi"):
                load_method(name)(subject, OPTIONS)


@pytest.mark.parametrize(
    "problem",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        MemoryError("Unable to allocate 9 GiB for an array"),
    ],
)
def test_memory_that_runs_out_halves_the_batch(problem: Exception) -> None:
    seen = []

    def work(part: range) -> int:
        seen.append(len(part))
        if len(part) > 3:
            raise problem
        return sum(part)

    done = list(in_batches(20, 16, work))
    assert sum(value for _, value in done) == sum(range(20))
    assert seen[:4] == [16, 8, 4, 2]
    assert set(seen[4:]) == {2}


def test_memory_that_does_not_suffice_for_one_is_told() -> None:
    def work(part: range) -> int:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    with pytest.raises(EnvironmentError_, match="one changed image at a time"):
        list(in_batches(5, 4, work))


def test_other_errors_are_not_taken_for_memory() -> None:
    def work(part: range) -> int:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        list(in_batches(5, 4, work))
