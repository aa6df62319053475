"""Pretrained weights arrive in the detector, whatever they come from, and folding norms changes nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision.models import EfficientNet, MobileNetV2, ResNet, efficientnet_v2_s, mobilenet_v2, resnet50
from torchvision.models.detection import fasterrcnn_resnet50_fpn

from lungct.errors import EnvironmentError_, InputError, UsageError
from lungct.io.checkpoint import save_tensors
from lungct.models.backbone import fold_norms
from lungct.models.card import ModelCard
from lungct.models.detector import build_detector
from lungct.models.transfer import transfer
from lungct.models.weights import HALF, PretrainedWeights, adapt_stem, read_weights
from lungct.registry import BACKBONES, DETECTORS

from .test_detector import CARD

FULL = dataclasses.replace(CARD, width=1.0, norm="folded", strides=(4, 8, 16, 32), anchor_sizes_px=((6.0,),) * 4)
NETWORKS = {"mobilenet-v2": mobilenet_v2, "resnet50": resnet50, "efficientnet-v2-s": efficientnet_v2_s}


def randomise(network: nn.Module) -> nn.Module:
    """Norms of a network that has seen data; in place."""
    for name, value in network.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.1)
        if name.endswith("running_var"):
            value.uniform_(0.5, 2)
    return network.eval()


def coarsest(network: nn.Module, image: Tensor) -> Tensor:
    """The network's own features at stride 32, by its own forward."""
    if isinstance(network, ResNet):
        whole = nn.Sequential(*list(network.children())[:-2])
        return whole(image)
    features = network.features
    return (features[:-1] if isinstance(network, EfficientNet) else features)(image)  # type: ignore[index,operator]


def loaded(card: ModelCard, path: Path | str, **more: str) -> nn.Module:
    """A detector with the weights of a file in it."""
    torch.manual_seed(5)
    detector = build_detector(card).eval()
    weights = read_weights(str(path), backbone=card.backbone, detector=card.detector)
    transfer(detector, card, weights, source=str(path), **more)
    return detector


def test_folded_norms_compute_the_same() -> None:
    torch.manual_seed(0)
    network = randomise(MobileNetV2())
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        before = network.features(image)  # type: ignore[operator]
    fold_norms(network.features)  # type: ignore[arg-type]
    with torch.inference_mode():
        assert torch.allclose(network.features(image), before, atol=1e-4)  # type: ignore[operator]
    assert not any(isinstance(one, torch.nn.BatchNorm2d) for one in network.modules())


@pytest.mark.parametrize("norm", ["folded", "frozen", "batch"])
@pytest.mark.parametrize("backbone", list(BACKBONES))
def test_a_file_gives_the_networks_own_features(backbone: str, norm: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = randomise(NETWORKS[backbone]())
    path = tmp_path / {"folded": "w.safetensors", "frozen": "w.pth", "batch": "w.npz"}[norm]
    tensors = network.state_dict()
    if norm == "folded":
        safetensors.torch.save_file(tensors, path)
    elif norm == "frozen":
        torch.save({"state_dict": {f"module.{name}": one for name, one in tensors.items()}}, path)
    else:
        np.savez(path, **{name: one.numpy() for name, one in tensors.items()})
    detector = loaded(dataclasses.replace(FULL, backbone=backbone, norm=norm), path)
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        expected = coarsest(network, image)
        found = detector.backbone.body(image)["3"]  # type: ignore[operator,union-attr]
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    assert float(expected.std()) > 0


@pytest.mark.parametrize("how", ["mean", "repeat"])
def test_a_stem_of_any_depth_answers_equal_slices_alike(how: str) -> None:
    filters = torch.randn(4, 3, 3, 3)
    for channels in (1, 2, 3, 5, 7):
        adapted = adapt_stem(filters, channels, how)
        assert adapted.shape == (4, channels, 3, 3)
        torch.testing.assert_close(adapted.sum(1), filters.sum(1))
    assert torch.equal(adapt_stem(filters, 6, "repeat")[:, 4], filters[:, 1] / 2)
    torch.testing.assert_close(adapt_stem(filters, 5, "mean")[:, 4], filters.mean(1) * 0.6)


def test_a_wider_stack_takes_the_adapted_stem(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = randomise(MobileNetV2())
    safetensors.torch.save_file(network.state_dict(), tmp_path / "w.safetensors")
    gray = torch.rand(1, 1, 64, 64)
    answers = []
    for channels in (1, 3, 5):
        card = dataclasses.replace(FULL, in_channels=channels)
        with torch.inference_mode():
            answers.append(
                loaded(card, tmp_path / "w.safetensors").backbone.body(gray.expand(1, channels, 64, 64))["0"]
            )  # type: ignore[operator,union-attr]
    assert torch.allclose(answers[0], answers[1], atol=1e-3)
    assert torch.allclose(answers[0], answers[2], atol=1e-3)


def test_group_norms_start_anew_on_loaded_filters(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = MobileNetV2()
    for one in network.modules():
        if isinstance(one, nn.BatchNorm2d):
            nn.init.constant_(one.weight, 3.0)
    safetensors.torch.save_file(network.state_dict(), tmp_path / "w.safetensors")
    body = loaded(dataclasses.replace(FULL, norm="group"), tmp_path / "w.safetensors").backbone.body.state_dict()  # type: ignore[operator,union-attr]
    assert torch.equal(body["3.conv.0.0.weight"], network.features[3].conv[0][0].weight)  # type: ignore[index]
    assert float(body["3.conv.0.1.weight"].max()) == 1.0


def _torchvision_detector(path: Path) -> nn.Module:
    torch.manual_seed(1)
    network = randomise(fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None))
    torch.save(network.state_dict(), path)
    return network


def test_a_coco_detector_gives_backbone_pyramid_and_towers_but_no_predictors(tmp_path: Path) -> None:
    network = _torchvision_detector(tmp_path / "coco.pth")
    anchors = ((6.0, 8.0, 10.0),) * 4  # as many as COCO's three aspects, but not the same
    card = dataclasses.replace(FULL, backbone="resnet50", fpn_channels=256, head_units=1024, anchor_sizes_px=anchors)
    torch.manual_seed(5)
    detector = build_detector(card).eval()
    weights = read_weights(str(tmp_path / "coco.pth"), backbone="resnet50")
    told = transfer(detector, card, weights, source="coco.pth")
    for one in network.modules():
        if isinstance(one, nn.BatchNorm2d):
            one.eps = 0.0  # as torchvision evaluates these weights
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        expected, found = network.backbone(image), detector.backbone(image)  # type: ignore[operator]
    for level in "0123":
        assert torch.allclose(expected[level], found[level], atol=1e-3 * float(expected[level].abs().max()))
    assert {"rpn.head.conv.0.0.weight", "roi_heads.box_head.fc7.weight"} <= set(told.loaded)
    assert "rpn.head.cls_logits.weight" in told.made_anew
    assert "roi_heads.box_predictor.cls_score.weight" in told.unused
    assert "rpn.head.cls_logits (2)" in told.facts()["weights_made_anew"]


def test_retinanets_coco_pyramid_is_put_at_its_strides() -> None:
    card = dataclasses.replace(CARD, detector="retinanet", strides=(4, 8, 16))
    names = {f"backbone.fpn.layer_blocks.{level}.0.bias": torch.full((16,), float(level)) for level in range(3)}
    source = build_detector(card)
    tensors = {name: one for name, one in source.state_dict().items() if name.startswith("backbone.body.")}
    weights = read_weights_of({**tensors, **names}, (8, 16, 32))
    detector = build_detector(card)
    transfer(detector, card, weights, source="memory")
    assert detector.state_dict()["backbone.fpn.layer_blocks.1.0.bias"].unique().tolist() == [0.0]
    assert detector.state_dict()["backbone.fpn.layer_blocks.2.0.bias"].unique().tolist() == [1.0]


def read_weights_of(tensors: dict[str, Tensor], strides: tuple[int, ...]) -> PretrainedWeights:
    """Weights as they come from a file."""
    return PretrainedWeights(tensors, HALF, HALF, strides)


@pytest.mark.parametrize("detector", list(DETECTORS))
def test_another_run_is_loaded_whole_and_without_its_class_layers_where_the_classes_differ(
    detector: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    card = dataclasses.replace(CARD, detector=detector)
    source = build_detector(card)
    save_tensors(tmp_path / "model.safetensors", source.state_dict(), card.to_json())
    weights = read_weights(str(tmp_path))
    assert (weights.input_mean, weights.card) == (card.input_mean, card)
    same = build_detector(card)
    told = transfer(same, card, weights, source="run")
    assert told.made_anew == told.unused == ()
    assert all(torch.equal(one, source.state_dict()[name]) for name, one in same.state_dict().items())
    other = dataclasses.replace(card, categories={1: "benign", 2: "malignant"})
    told = transfer(build_detector(other), other, read_weights(str(tmp_path / "model.safetensors")), source="run")
    assert all("cls_logits" in name or "box_predictor" in name for name in told.made_anew)
    assert len(told.made_anew) in (2, 4)
    assert set(told.made_anew) == set(told.unused)
    renamed = dataclasses.replace(card, categories={1: "mass"})
    told = transfer(build_detector(renamed), renamed, read_weights(str(tmp_path)), source="run")
    assert told.made_anew, "layers of another class were taken over"


def test_a_run_of_another_detector_gives_its_backbone() -> None:
    card = dataclasses.replace(CARD, detector="retinanet")
    weights = PretrainedWeights(build_detector(CARD).state_dict(), HALF, HALF, CARD.strides, CARD)
    told = transfer(build_detector(card), card, weights, source="run")
    assert any(name.startswith("backbone.fpn") for name in told.loaded)
    assert all(name.startswith("head.") for name in told.made_anew)
    assert all(name.startswith(("rpn.", "roi_heads.")) for name in told.unused)


def test_missing_and_misshapen_tensors_are_named(tmp_path: Path) -> None:
    tensors = {name: value.numpy() for name, value in MobileNetV2().state_dict().items()}
    del tensors["features.3.conv.3.bias"]
    path = tmp_path / "weights.npz"
    np.savez(path, **tensors)
    with pytest.raises(InputError, match=r"weights\.npz.*no tensor features\.3\.conv\.3\.bias"):
        loaded(FULL, path)
    tensors["features.3.conv.3.bias"] = np.zeros(5, np.float32)
    np.savez(path, **tensors)
    with pytest.raises(InputError, match=r"features\.3\.conv\.3\.bias is \(5,\), not \(24,\)"):
        loaded(FULL, path)


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    for suffix in ("npz", "safetensors", "pth"):
        with pytest.raises(InputError, match="no such file"):
            read_weights(str(tmp_path / f"none.{suffix}"))
        broken = tmp_path / f"broken.{suffix}"
        broken.write_bytes(b"PK no")
        with pytest.raises(InputError, match="not readable"):
            read_weights(str(broken))
    with pytest.raises(UsageError, match="neither none, imagenet"):
        read_weights("resnet")
    torch.save({"lr": 0.1}, tmp_path / "state.pt")
    with pytest.raises(InputError, match="holds no state dict"):
        read_weights(str(tmp_path / "state.pt"))


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    torch.save({"features": Path("x")}, tmp_path / "evil.pth")
    with pytest.raises(InputError, match="not readable as weights"):
        read_weights(str(tmp_path / "evil.pth"))


@pytest.mark.parametrize(
    ("name", "backbone", "file"),
    [
        ("imagenet", "mobilenet-v2", r"mobilenet_v2-\w+\.pth"),
        ("imagenet", "resnet50", r"resnet50-\w+\.pth"),
        ("imagenet", "efficientnet-v2-s", r"efficientnet_v2_s-\w+\.pth"),
        ("coco", "resnet50", r"retinanet_resnet50_fpn_coco-\w+\.pth"),
    ],
)
def test_without_a_network_it_says_where_to_put_which_file(
    name: str, backbone: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(EnvironmentError_, match=rf"checkpoints/{file}.*put https://") as caught:
        read_weights(name, backbone=backbone, detector="retinanet")
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)


def test_coco_is_only_there_on_resnet50() -> None:
    with pytest.raises(UsageError, match=r"no COCO weights on mobilenet-v2.*--backbone resnet50"):
        read_weights("coco", backbone="mobilenet-v2")


@pytest.mark.real
def test_real_imagenet_weights_load_whole(real_data: Path) -> None:
    path = real_data / "weights" / "mobilenet_v2_imagenet.npz"
    weights = read_weights(str(path))
    assert weights.input_mean == HALF
    detector = loaded(FULL, path)
    network = MobileNetV2().eval()
    network.load_state_dict(dict(weights.tensors), strict=False)
    image = torch.rand(1, 3, 96, 96) * 2 - 1
    with torch.inference_mode():
        assert torch.allclose(detector.backbone.body(image)["3"], network.features(image), atol=1e-2)  # type: ignore[operator,union-attr]
