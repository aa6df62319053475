"""Pretrained weights arrive in the backbone, and folding norms changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torchvision.models import MobileNetV2

from lungct.errors import EnvironmentError_, InputError, UsageError
from lungct.models.backbone import fold_norms, mobilenet_v2
from lungct.models.weights import HALF, IMAGENET_MEAN, load_backbone_weights, read_weights


def _random_network() -> MobileNetV2:
    torch.manual_seed(0)
    network = MobileNetV2().eval()
    for name, value in network.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.1)
        if name.endswith("running_var"):
            value.uniform_(0.5, 2)
    return network


def test_folded_norms_compute_the_same() -> None:
    network = _random_network()
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        before = network.features(image)
    fold_norms(network.features)
    with torch.inference_mode():
        assert torch.allclose(network.features(image), before, atol=1e-4)
    assert not any(isinstance(one, torch.nn.BatchNorm2d) for one in network.features.modules())


def test_a_safetensors_file_gives_the_networks_own_features(tmp_path: Path) -> None:
    network = _random_network()
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(network.state_dict(), path)
    weights = read_weights(str(path))
    assert weights.input_mean == IMAGENET_MEAN
    backbone = mobilenet_v2(width=1.0, norm="folded", in_channels=3, fpn_channels=16, strides=(4, 8, 16)).eval()
    load_backbone_weights(backbone.body, weights, 3, str(path))
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(backbone.body(image)["2"], network.features[:14](image), atol=1e-4)


def test_a_gray_stack_of_any_depth_gives_what_three_equal_colours_give() -> None:
    network = _random_network()
    tensors = dict(network.state_dict())
    gray = torch.rand(1, 1, 64, 64)
    answers = []
    for channels in (1, 3, 5):
        body = (
            mobilenet_v2(width=1.0, norm="folded", in_channels=channels, fpn_channels=16, strides=(4, 8, 16))
            .eval()
            .body
        )
        weights = read_weights_of(tensors)
        load_backbone_weights(body, weights, channels, "memory")
        with torch.inference_mode():
            answers.append(body(gray.expand(1, channels, 64, 64))["0"])
    assert torch.allclose(answers[0], answers[1], atol=1e-3)
    assert torch.allclose(answers[0], answers[2], atol=1e-3)


def read_weights_of(tensors: dict[str, torch.Tensor]) -> object:
    """Weights as they come from a file."""
    from lungct.models.weights import PretrainedWeights

    return PretrainedWeights(tensors, HALF, HALF)


def test_missing_and_misshapen_tensors_are_named(tmp_path: Path) -> None:
    tensors = {name: value.numpy() for name, value in MobileNetV2().state_dict().items()}
    body = mobilenet_v2(width=1.0, norm="folded", in_channels=3, fpn_channels=16, strides=(4, 8, 16)).body
    del tensors["features.3.conv.3.bias"]
    path = tmp_path / "weights.npz"
    np.savez(path, **tensors)
    with pytest.raises(InputError, match=r"weights\.npz.*no tensor features\.3\.conv\.3\.bias"):
        load_backbone_weights(body, read_weights(str(path)), 3, str(path))
    tensors["features.3.conv.3.bias"] = np.zeros(5, np.float32)
    np.savez(path, **tensors)
    with pytest.raises(InputError, match=r"features\.3\.conv\.3\.bias is \(5,\), not \(24,\)"):
        load_backbone_weights(body, read_weights(str(path)), 3, str(path))


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_weights(str(tmp_path / "none.npz"))
    broken = tmp_path / "broken.npz"
    broken.write_bytes(b"PK no")
    with pytest.raises(InputError, match="not readable"):
        read_weights(str(broken))
    with pytest.raises(UsageError, match="neither none, imagenet"):
        read_weights("resnet")


def test_imagenet_without_a_network_says_where_to_put_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(EnvironmentError_, match=r"checkpoints/mobilenet_v2-\w+\.pth.*put https://") as caught:
        read_weights("imagenet")
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)


@pytest.mark.real
def test_real_imagenet_weights_load_whole(real_data: Path) -> None:
    path = real_data / "weights" / "mobilenet_v2_imagenet.npz"
    weights = read_weights(str(path))
    assert weights.input_mean == HALF
    body = mobilenet_v2(width=1.0, norm="folded", in_channels=3, fpn_channels=16, strides=(4, 8, 16, 32)).body
    load_backbone_weights(body, weights, 3, str(path))
    network = MobileNetV2().eval()
    network.load_state_dict(weights.tensors, strict=False)
    image = torch.rand(1, 3, 96, 96) * 2 - 1
    with torch.inference_mode():
        assert torch.allclose(body.eval()(image)["3"], network.features(image), atol=1e-2)
