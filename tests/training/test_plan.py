"""A plan counts steps, operations, memory and time, and writes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from lungct.cli import train as verb
from lungct.errors import UsageError
from lungct.training.plan import _Kept, plan
from lungct.training.together import under_torchrun
from tests.training.disks import write_disks
from tests.training.test_train import ONE_THREAD, _options


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    write_disks(tmp_path / "slices", train=6, val=3, size=72)
    return tmp_path / "slices"


def test_a_plan_counts_steps_and_writes_nothing(slices: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    planned = plan(slices, _options(epochs=5, batch=4), ONE_THREAD)
    assert planned["steps"] == 10
    assert planned["training_slices"] == 6
    assert planned["parameters"] > 100_000
    assert 0.5 < planned["anchor_recall"] <= 1
    assert planned["device"] == "cpu"
    assert planned["timed_by"].startswith("1 trial step")
    assert planned["seconds_per_step"] > 0
    assert planned["hours_of_steps"] == pytest.approx(planned["seconds_per_step"] * 10 / 3600, rel=0.02)
    assert planned["memory_by"].startswith("counted")
    assert not under_torchrun()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_detector_without_anchors_tells_of_none(slices: Path) -> None:
    assert not {"anchors_px", "anchor_recall"} & plan(slices, _options(detector="fcos"), ONE_THREAD).keys()


@pytest.mark.parametrize("two", [{"dry_run": True, "find_lr": True}, {"find_lr": True, "resume": True}])
def test_flags_that_ask_for_two_things_are_refused(two: dict[str, bool], slices: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not go with"):
        verb.run(slices, tmp_path / "run", **two)


def test_operations_and_memory_grow_with_the_input(slices: Path) -> None:
    small, large = (plan(slices, _options(crop_px=0, magnify=factor), ONE_THREAD) for factor in (1.0, 2.0))
    assert 3 < large["gflops_per_step"] / small["gflops_per_step"] < 5, "four times the pixels"
    assert large["memory_mib"] > small["memory_mib"]


def test_what_the_backward_pass_keeps_is_counted_once() -> None:
    kept = _Kept()
    layer = nn.Linear(1000, 10, bias=False)
    image = torch.ones(7, 1000)
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda tensor: tensor):
        (layer(image) + layer(image)).exp().sum()
    assert kept.bytes == 4 * (7 * 1000 + 7 * 10), "the input once, and the result of exp"
