"""One step of learning: clipping, accumulation, averages, scalers that meet an overflow, compiled backbones."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lungct.errors import EnvironmentError_
from lungct.models.device import check_compiles
from lungct.registry import OPTIMIZERS
from lungct.training.average import Average
from lungct.training.learner import Learner, make_learner
from lungct.training.loop import steps_of
from lungct.training.optimizer import make_optimizer
from lungct.training.options import TrainOptions, preset_options
from tests.models.test_detector import small

CPU = torch.device("cpu")


class Slope(nn.Module):
    """A detector whose loss is its weight times its input."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 1))

    def forward(self, images: list[Tensor], targets: Any) -> dict[str, Tensor]:
        return {"slope": torch.stack(images).mean() * self.weight.sum()}


def learner_of(lr: float = 1.0, scale: float | None = None, **more: Any) -> Learner:
    detector = Slope()
    scaler = torch.amp.GradScaler("cpu", init_scale=scale or 1.0, enabled=scale is not None)
    return Learner(detector, torch.optim.SGD(detector.parameters(), lr=lr), scaler, {}, **more)


def step(learner: Learner, *values: float) -> float:
    learner.begin(1.0)
    for value in values:
        learner.look(([torch.full((1,), value)], []), 1 / len(values))
    learner.finish()
    return float(learner.detector.weight.detach())  # type: ignore[operator]


def test_batches_that_are_accumulated_make_the_step_of_their_mean() -> None:
    assert step(learner_of(), 0.1, 0.3) == pytest.approx(1 - 0.2)
    assert [steps_of(batches, 4) for batches in (1, 4, 5, 8)] == [1, 1, 2, 2]


def test_gradients_are_clipped_to_their_norm_or_left() -> None:
    assert step(learner_of(clip_norm=0.5), 8.0) == pytest.approx(0.5, abs=1e-5)
    assert step(learner_of(), 8.0) == pytest.approx(-7.0)


def test_a_scaler_survives_an_overflow() -> None:
    detector = Slope()
    learner = dataclasses.replace(
        learner_of(scale=2.0**127, clip_norm=10.0),
        detector=detector,
        optimizer=torch.optim.SGD(detector.parameters(), lr=1.0),
        average=Average(detector, 0.9),
    )
    assert learner.average is not None
    assert step(learner, 4.0) == 1.0, "an overflown gradient was learned from"
    assert learner.average.updates == 0
    assert learner.scaler.get_scale() == 2.0**126
    assert step(learner, 0.5) == pytest.approx(0.5)
    assert learner.average.updates == 1


def test_an_average_follows_its_formula_and_copies_what_it_cannot_average() -> None:
    norm = nn.BatchNorm1d(1)
    average = Average(norm, 0.15)
    expected = 1.0
    for number in range(3):
        with torch.no_grad():
            norm.weight.fill_(10.0 * (number + 1))
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.fill_(number)
        decay = min(0.15, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * 10 * (number + 1)
        average.update(norm)
    assert float(average.model.weight) == pytest.approx(expected)  # type: ignore[arg-type]
    assert int(average.model.num_batches_tracked) == 2  # type: ignore[arg-type]
    assert not average.model.training
    assert not any(one.requires_grad for one in average.model.parameters())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_optimiser_goes_down_and_decays_weights_alone(name: str) -> None:
    layer = nn.Linear(1, 1)
    optimizer = make_optimizer(layer, TrainOptions(optimizer=name, lr=0.1, weight_decay=0.3))
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]
    assert type(optimizer).__name__.lower() == name
    before = layer.bias.item()
    layer(torch.ones(1)).sum().backward()
    optimizer.step()
    assert layer.bias.item() < before


def test_what_is_held_still_is_not_given_to_the_optimiser() -> None:
    learner = make_learner(small("retinanet", width=0.25), preset_options("tiny", {"lr": 0.1}), None, CPU, "")
    detector: Any = learner.detector
    whole = sum(len(group["params"]) for group in learner.optimizer.param_groups)
    detector.backbone.hold_still(1)
    some = sum(len(group["params"]) for group in make_optimizer(detector, TrainOptions()).param_groups)
    assert 0 < some < whole


def test_compiling_without_a_compiler_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(EnvironmentError_, match="--compile needs a C"):
        check_compiles(CPU)


@pytest.mark.slow
def test_a_compiled_backbone_learns_what_it_would_and_keeps_its_names() -> None:
    image = [torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(1))]
    target = [{"boxes": torch.tensor([[10.0, 10.0, 22.0, 24.0]]), "labels": torch.tensor([1])}]
    losses, names = [], []
    for compiled in (False, True):
        options = preset_options("tiny", {"compile": compiled, "channels_last": False, "amp": "off"})
        learner = make_learner(small("retinanet", width=0.25), options, None, CPU, "")
        learner.detector.train()
        learner.begin(1e-3)
        losses.append(learner.look((image, target), 1.0)["loss"])
        learner.finish()
        names.append(list(learner.detector.state_dict()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert names[0] == names[1]
