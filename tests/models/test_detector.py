"""Detectors are built from cards, lose, and come back from disk as they were."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lungct.errors import InputError
from lungct.io.checkpoint import load_tensors, save_tensors
from lungct.models.card import ModelCard
from lungct.models.detector import build_detector, score_threshold
from lungct.models.load import load_model
from lungct.models.preprocess import check_serves, to_input
from lungct.registry import BACKBONES, DETECTORS, NORMS

CARD = ModelCard(
    detector="faster-rcnn",
    backbone="mobilenet-v2",
    width=0.35,
    norm="batch",
    fpn_channels=16,
    strides=(4, 8, 16),
    anchor_sizes_px=((6.0,), (12.0,), (24.0,)),
    in_channels=3,
    hu_window=(-1000.0, 500.0),
    magnify=2.0,
    categories={1: "nodule"},
    head_units=16,
    input_mean=(0.5, 0.5, 0.5),
    input_std=(0.25, 0.25, 0.25),
    spacing_mm=(0.7, 0.7, 1.25),
    hu_clip=(-1000.0, 400.0),
)


def small(detector: str, backbone: str = "mobilenet-v2", **more: Any) -> ModelCard:
    """A card that any detector and backbone can be built from."""
    sizes = ((4.0,), (8.0,), (16.0,)) if detector == "fcos" else CARD.anchor_sizes_px
    return dataclasses.replace(CARD, detector=detector, backbone=backbone, anchor_sizes_px=sizes, **more)


@pytest.mark.parametrize(
    ("name", "backbone", "norm"),
    [(name, backbone, "batch") for name in DETECTORS for backbone in BACKBONES]
    + [("retinanet", backbone, norm) for backbone in BACKBONES for norm in NORMS if norm not in ("auto", "batch")],
)
def test_losses_are_finite_and_reach_the_stem_with_and_without_boxes(name: str, backbone: str, norm: str) -> None:
    torch.manual_seed(0)
    detector = build_detector(small(name, backbone, norm=norm, width=0.25)).train()
    targets = [
        {"boxes": torch.tensor([[10.0, 10.0, 22.0, 24.0]]), "labels": torch.tensor([1])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    losses = detector([torch.rand(3, 64, 64), torch.rand(3, 64, 80)], targets)
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    stem = next(detector.backbone.body.parameters())
    assert torch.isfinite(total)
    assert stem.grad is not None
    assert float(stem.grad.abs().sum()) > 0


@pytest.mark.parametrize("name", list(DETECTORS))
def test_a_batch_of_empty_slices_alone_can_be_learned_from(name: str) -> None:
    detector = build_detector(small(name)).train()
    empty = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)} for _ in range(2)]
    losses = detector([torch.rand(3, 64, 64) for _ in range(2)], empty)
    assert all(bool(torch.isfinite(one)) for one in losses.values())


def test_the_detector_leaves_the_size_of_its_input_alone() -> None:
    detector = build_detector(CARD).eval()
    images, _ = detector.transform([torch.rand(3, 50, 70)])
    assert images.image_sizes == [(50, 70)]
    assert images.tensors.shape == (1, 3, 64, 80)


@pytest.mark.parametrize("strides", [(4, 8, 16), (8, 16, 32), (4, 32)])
@pytest.mark.parametrize("backbone", list(BACKBONES))
def test_pyramid_levels_have_the_cards_strides(backbone: str, strides: tuple[int, ...]) -> None:
    card = dataclasses.replace(CARD, backbone=backbone, strides=strides, anchor_sizes_px=((6.0,),) * len(strides))
    levels = build_detector(card).backbone(torch.rand(1, 3, 128, 64))  # type: ignore[operator]
    assert [(name, one.shape[1:]) for name, one in levels.items()] == [
        (str(level), (16, 128 // stride, 64 // stride)) for level, stride in enumerate(strides)
    ]


@pytest.mark.parametrize("backbone", list(BACKBONES))
def test_stages_held_still_neither_learn_nor_count(backbone: str) -> None:
    torch.manual_seed(0)
    detector: Any = build_detector(small("retinanet", backbone, width=0.25))
    detector.backbone.hold_still(1)
    body = detector.backbone.body
    before = {name: one.clone() for name, one in body.state_dict().items()}
    detector.train()(
        [torch.rand(3, 64, 64)], [{"boxes": torch.tensor([[10.0, 10.0, 22.0, 24.0]]), "labels": torch.tensor([1])}]
    )["classification"].backward()
    deepest = detector.backbone.stages()[-1]
    learned = {name.split(".")[0] for name, one in body.named_parameters() if one.grad is not None}
    counted = {name.split(".")[0] for name, one in body.state_dict().items() if not torch.equal(one, before[name])}
    assert learned
    assert learned <= set(deepest)
    assert counted
    assert counted <= set(deepest)


def test_a_card_survives_json() -> None:
    assert ModelCard.from_json(CARD.to_json()) == CARD


def test_a_broken_card_is_an_input_error() -> None:
    with pytest.raises(InputError, match="model card"):
        ModelCard.from_json('{"schema": "lungct.model/1"}')


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_a_saved_model_detects_as_before(tmp_path: Path, channels: int) -> None:
    torch.manual_seed(0)
    card = dataclasses.replace(CARD, in_channels=channels, input_mean=(0.5,) * channels, input_std=(0.25,) * channels)
    detector = build_detector(card).eval()
    save_tensors(tmp_path / "model.safetensors", detector.state_dict(), card.to_json())
    again = load_model(tmp_path, "cpu")
    image = [torch.rand(channels, 64, 64)]
    with torch.inference_mode(), score_threshold(detector, 0.0), score_threshold(again.detector, 0.0):
        before, after = detector(image)[0], again.detector(image)[0]
    assert again.card == card
    assert len(before["boxes"])
    assert torch.equal(before["boxes"], after["boxes"])


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = build_detector(CARD).state_dict()
    for name in ("a", "b"):
        save_tensors(tmp_path / name, tensors, CARD.to_json())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_files_that_are_no_models_are_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(InputError, match="no such file"):
        load_tensors(path)
    path.write_bytes(b"not weights at all")
    with pytest.raises(InputError, match=r"model\.safetensors.*not readable"):
        load_model(tmp_path)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    tensors = build_detector(CARD).state_dict()
    wider = dataclasses.replace(CARD, fpn_channels=24)
    save_tensors(tmp_path / "model.safetensors", tensors, wider.to_json())
    with pytest.raises(InputError, match="do not fit"):
        load_model(tmp_path, "cpu")


def test_input_is_windowed_and_magnified() -> None:
    shown = to_input(np.full((3, 20, 31), -250, dtype=np.int16), CARD)
    assert shown.shape == (3, 40, 62)
    assert torch.allclose(shown, torch.full_like(shown, 0.5))


def test_another_number_of_channels_is_refused() -> None:
    with pytest.raises(InputError, match=r"scan7: has 1 channels, the model takes 3.*--context 3"):
        to_input(np.zeros((1, 20, 20), dtype=np.int16), CARD, name="scan7")


def test_slices_that_serve_pass_and_others_are_refused() -> None:
    check_serves({"spacing_mm": [0.72, 0.7, 5.0], "hu_clip": [-1000, 400]}, CARD, name="good")
    check_serves({}, CARD, name="unknown")
    with pytest.raises(InputError, match="pixels of"):
        check_serves({"spacing_mm": [0.8, 0.8, 1.25]}, CARD, name="coarse")
    with pytest.raises(InputError, match="clipped to"):
        check_serves({"hu_clip": [-800, 400]}, CARD, name="clipped")
