"""Pretrained backbone weights: a file under torchvision's parameter names, or torchvision's own from its cache."""

from __future__ import annotations

import contextlib
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision.models import MobileNet_V2_Weights, MobileNetV2

from lungct.errors import EnvironmentError_, InputError, UsageError
from lungct.models.backbone import fold_norms

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True, eq=False)
class PretrainedWeights:
    """MobileNetV2 tensors by torchvision's names, and the input normalisation that they were trained with."""

    tensors: dict[str, Tensor]
    input_mean: tuple[float, ...]
    input_std: tuple[float, ...]


def read_weights(name: str) -> PretrainedWeights:
    """``imagenet``, or the path of an .npz or .safetensors file with torchvision's parameter names.

    Files whose batch norms are folded (every running mean is 0) come from networks fed with x / 127.5 - 1; others are
    taken as torchvision's, fed with the ImageNet mean and deviation.

    Raises:
        InputError: missing or unreadable file.
        UsageError: another kind of file.
        EnvironmentError_: ``imagenet`` is not in the cache and cannot be fetched.
    """
    tensors = _torchvision_weights() if name == "imagenet" else _read_file(Path(name))
    means = [value for key, value in tensors.items() if key.endswith("running_mean")]
    if means and all(bool((mean == 0).all()) for mean in means):
        return PretrainedWeights(tensors, HALF, HALF)
    return PretrainedWeights(tensors, IMAGENET_MEAN, IMAGENET_STD)


def _torchvision_weights() -> dict[str, Tensor]:
    weights = MobileNet_V2_Weights.DEFAULT
    target = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for the product; torch announces downloads there
            tensors: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as problem:
        reason = " ".join(str(problem).split())[:120]
        raise EnvironmentError_(
            f"ImageNet weights are not at {target} and cannot be fetched ({reason})",
            f"put {weights.url} there, or name a file with --weights",
        ) from None
    return tensors


def _read_file(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return {name: torch.from_numpy(archive[name]) for name in archive.files}
        if path.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(path))
    except FileNotFoundError:
        raise InputError.of(path, "no such file") from None
    except (OSError, ValueError, zipfile.BadZipFile, safetensors.SafetensorError) as problem:
        raise InputError.of(path, f"not readable as weights ({problem})") from None
    raise UsageError(f"--weights {path} is neither none, imagenet, nor an .npz or .safetensors file")


def adapt(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Per-channel constants of three colours for a stack of ``channels`` slices: their mean where it is not three."""
    return values if channels == len(values) else (sum(values) / len(values),) * channels


@torch.no_grad()
def load_backbone_weights(body: nn.Module, weights: PretrainedWeights, in_channels: int, source: str) -> None:
    """Fill a full-width backbone body without norm layers from MobileNetV2 weights.

    The stem's filters become their mean over colours, times 3 / channels, where the stack is not of three slices.

    Raises:
        InputError: a tensor is missing or of another shape; ``source`` names the file in the message.
    """
    whole = MobileNetV2(num_classes=1)
    wanted = whole.features.state_dict()
    found = {name.removeprefix("features."): value for name, value in weights.tensors.items() if "features." in name}
    for name, value in wanted.items():
        if name.endswith("num_batches_tracked"):
            continue
        if name not in found:
            raise InputError.of(source, f"no tensor features.{name} in it", "expected torchvision's MobileNetV2")
        if found[name].shape != value.shape:
            raise InputError.of(source, f"features.{name} is {tuple(found[name].shape)}, not {tuple(value.shape)}")
        value.copy_(found[name])
    fold_norms(whole.features)
    tensors = whole.features.state_dict()
    if in_channels != 3:
        stem = tensors["0.0.weight"]
        tensors["0.0.weight"] = (stem.mean(1, keepdim=True) * (3 / in_channels)).repeat(1, in_channels, 1, 1)
    body.load_state_dict({name: tensors[name] for name in body.state_dict()})
