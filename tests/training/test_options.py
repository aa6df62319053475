"""Presets, what is given on top of them, and what is refused."""

from __future__ import annotations

import pytest

from lungct import registry
from lungct.errors import UsageError
from lungct.training.options import PRESETS, TrainOptions, parse_anchors, preset_options


def test_every_preset_of_the_registry_exists() -> None:
    assert set(PRESETS) == set(registry.PRESETS)
    for name in PRESETS:
        assert preset_options(name, {}).preset == name


def test_what_is_given_wins_over_the_preset_and_none_is_not_given() -> None:
    chosen = preset_options("tiny", {"lr": 0.5, "epochs": None})
    assert chosen.lr == 0.5
    assert chosen.epochs == PRESETS["tiny"]["epochs"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch": 0},
        {"lr": 0.0},
        {"lr": float("inf")},
        {"weight_decay": -0.1},
        {"weight_decay": float("nan")},
        {"magnify": -1.0},
        {"magnify": float("inf")},
        {"crop_px": 20},
        {"validate_every": 0},
        {"patience": -1},
        {"accumulate": 0},
        {"lr_cut": 1.0},
        {"cycles": 0},
        {"lr_patience": 0},
        {"clip_norm": -1.0},
        {"ema": 1.0},
        {"focal_alpha": 1.5},
        {"focal_gamma": -1.0},
        {"trainable_stages": 5},
        {"seed": 2**64},
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="out of range"):
        preset_options("tiny", wrong)


def test_pretrained_weights_need_the_full_width() -> None:
    with pytest.raises(UsageError, match="full width"):
        TrainOptions(width=0.5, weights="imagenet")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"norm": "frozen"}, "--norm frozen keeps"),
        ({"norm": "folded"}, "--norm folded keeps"),
        ({"trainable_stages": 2}, "--trainable-stages"),
        ({"detector": "fcos", "anchors": "4,8,16"}, "FCOS has none"),
        ({"milestones": "0.9,0.7"}, "--milestones"),
        ({"milestones": "1"}, "--milestones"),
        ({"milestones": "x"}, "--milestones"),
        ({"strides": "8,4"}, "--strides '8,4'"),
        ({"strides": "4,,8"}, "--strides"),
        ({"strides": "4,64"}, "--strides"),
    ],
)
def test_what_does_not_go_together_is_refused(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        preset_options("default", wrong)


def test_recorded_weights_have_no_folder() -> None:
    assert TrainOptions(weights="/home/somebody/w.npz").record()["weights"] == "w.npz"


def test_anchors_are_parsed_by_level() -> None:
    assert parse_anchors("6,12,24", 3) == ((6.0,), (12.0,), (24.0,))
    assert parse_anchors("6/9,12/18,24/36", 3) == ((6.0, 9.0), (12.0, 18.0), (24.0, 36.0))


@pytest.mark.parametrize("text", ["6,12", "6,12,x", "6/9,12,24", "0,1,2", ""])
def test_anchors_that_fit_no_pyramid_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--anchors"):
        parse_anchors(text, 3)
