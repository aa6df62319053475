"""Pretrained weights: ImageNet's trunks, COCO's detectors, a file of either, or another lungct run."""

from __future__ import annotations

import contextlib
import pickle
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torchvision.models import detection

from lungct.errors import EnvironmentError_, InputError, UsageError
from lungct.io.checkpoint import KEY, load_tensors
from lungct.io.weights_header import weights_of
from lungct.models.backbone import trunk_of
from lungct.models.card import ModelCard

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)
COCO_EPS = 0.0
"""torchvision evaluates its first COCO weights without an epsilon in the norms."""
COCO = {
    "faster-rcnn": (detection.fasterrcnn_resnet50_fpn, detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1, COCO_EPS),
    "retinanet": (detection.retinanet_resnet50_fpn, detection.RetinaNet_ResNet50_FPN_Weights.COCO_V1, COCO_EPS),
    "fcos": (detection.fcos_resnet50_fpn, detection.FCOS_ResNet50_FPN_Weights.COCO_V1, 1e-5),
}
"""Detector -> its maker, weights and norm epsilon, all on ResNet50."""
COCO_STRIDES = {"faster-rcnn": (4, 8, 16, 32), "retinanet": (8, 16, 32), "fcos": (8, 16, 32)}
BODY = "backbone.body."
UNREADABLE = (
    OSError,
    ValueError,
    RuntimeError,
    EOFError,
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    safetensors.SafetensorError,
)


@dataclass(frozen=True, eq=False)
class PretrainedWeights:
    """Tensors and the input normalisation that they were trained with.

    Attributes:
        tensors: by the names of torchvision's classifier, or of its detector where one starts with ``backbone.body.``.
        input_mean, input_std: per channel.
        strides: of the detector's pyramid; empty for a trunk.
        card: of the run that they come from; None for torchvision's.
    """

    tensors: Mapping[str, Tensor]
    input_mean: tuple[float, ...]
    input_std: tuple[float, ...]
    strides: tuple[int, ...] = ()
    card: ModelCard | None = None

    @property
    def whole_detector(self) -> bool:
        """Whether there is more than a trunk in it."""
        return any(name.startswith(BODY) for name in self.tensors)


def read_weights(name: str, *, backbone: str = "mobilenet-v2", detector: str = "faster-rcnn") -> PretrainedWeights:
    """``imagenet``, ``coco``, a run folder, or an .npz, .safetensors, .pt or .pth file with torchvision's names.

    Trunks whose batch norms are folded (every running mean is 0) come from networks fed with x / 127.5 - 1; others are
    taken as torchvision's, fed with the ImageNet mean and deviation.

    Raises:
        InputError: missing or unreadable file.
        UsageError: another kind of file, or ``coco`` for a pair that torchvision has none of.
        EnvironmentError_: ``imagenet`` or ``coco`` is not in the cache and cannot be fetched.
    """
    if name == "imagenet":
        return PretrainedWeights(_fetched(trunk_of(backbone).imagenet), IMAGENET_MEAN, IMAGENET_STD)
    if name == "coco":
        if backbone != "resnet50":
            raise UsageError(f"there are no COCO weights on {backbone}", "take --backbone resnet50, or imagenet")
        return _as_coco(_fetched(COCO[detector][1]), detector, "coco")
    path = Path(name)
    if path.is_dir() or (path.suffix == ".safetensors" and _is_run(path)):
        tensors, text = load_tensors(weights_of(path))
        card = ModelCard.from_json(text)
        return PretrainedWeights(tensors, card.input_mean, card.input_std, card.strides, card)
    tensors = _read_file(path)
    if any(key.startswith(BODY) for key in tensors):
        return _as_coco(tensors, detector, path)
    means = [value for key, value in tensors.items() if key.endswith("running_mean")]
    if means and all(bool((mean == 0).all()) for mean in means):
        return PretrainedWeights(tensors, HALF, HALF)
    return PretrainedWeights(tensors, IMAGENET_MEAN, IMAGENET_STD)


def _is_run(path: Path) -> bool:
    try:
        with safetensors.safe_open(path, framework="pt") as archive:
            return KEY in (archive.metadata() or {})
    except (OSError, safetensors.SafetensorError):
        return False  # read_file says what is wrong with it


def _fetched(weights: Any) -> dict[str, Tensor]:
    target = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for the product; torch announces downloads there
            tensors: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as problem:
        reason = " ".join(str(problem).split())[:120]
        raise EnvironmentError_(
            f"pretrained weights are not at {target} and cannot be fetched ({reason})",
            f"put {weights.url} there, or name a file with --weights",
        ) from None
    return tensors


def _as_coco(tensors: Mapping[str, Tensor], detector: str, source: str | Path) -> PretrainedWeights:
    """A torchvision detector's tensors under its present names, the norms' epsilon put into their variances."""
    make, _, eps = COCO[detector]
    classes = next((len(tensors[one]) for one in tensors if one.endswith("box_predictor.cls_score.bias")), 91)
    with torch.device("meta"):
        reference = make(weights=None, weights_backbone=None, num_classes=classes)
    try:
        reference.load_state_dict(dict(tensors), strict=False, assign=True)  # renames what older versions wrote
    except RuntimeError as problem:
        reason = " ".join(str(problem).split())[:160]
        raise InputError.of(source, f"not torchvision's {detector} on ResNet50 ({reason})") from None
    found = {name: one.detach() for name, one in reference.state_dict().items() if not one.is_meta}
    for name in list(found):
        if name.startswith(BODY) and name.endswith("running_var"):
            found[name] = found[name] + (eps - trunk_of("resnet50").norm_eps)
    return PretrainedWeights(found, IMAGENET_MEAN, IMAGENET_STD, COCO_STRIDES[detector])


def _read_file(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return {name: torch.from_numpy(archive[name]) for name in archive.files}
        if path.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(path))
        if path.suffix in (".pt", ".pth"):
            return _state_dict(torch.load(path, map_location="cpu", weights_only=True), path)
    except FileNotFoundError:
        raise InputError.of(path, "no such file") from None
    except UNREADABLE as problem:
        reason = " ".join(str(problem).split())[:160]
        raise InputError.of(path, f"not readable as weights ({reason})") from None
    raise UsageError(
        f"--weights {path} is neither none, imagenet, coco, a run folder, nor an .npz, .safetensors, .pt or .pth file"
    )


def _state_dict(document: Any, path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict, also where it lies under ``state_dict`` or ``model``, as programs write it."""
    for key in ("state_dict", "model"):
        document = document.get(key, document) if isinstance(document, dict) else document
    if not isinstance(document, dict) or not any(isinstance(one, Tensor) for one in document.values()):
        raise InputError.of(path, "holds no state dict")
    return {str(name).removeprefix("module."): one for name, one in document.items() if isinstance(one, Tensor)}


def adapt(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Per-channel constants for a stack of another depth: their mean where the number of channels differs."""
    return values if channels == len(values) else (sum(values) / len(values),) * channels


def adapt_stem(filters: Tensor, channels: int, how: str) -> Tensor:
    """(F, C, y, x) filters for another number of channels; a stack of equal slices is answered as before.

    Args:
        how: ``mean`` gives every slice the mean filter, ``repeat`` the old filters in turn.
    """
    count = filters.shape[1]
    if count == channels:
        return filters
    if how == "mean":
        return filters.mean(1, keepdim=True).repeat(1, channels, 1, 1) * (count / channels)
    if channels < count:
        return torch.stack([filters[:, first::channels].sum(1) for first in range(channels)], 1)
    turns = [index % count for index in range(channels)]
    shares = torch.tensor([1 / turns.count(turn) for turn in turns])
    return filters[:, turns] * shares[:, None, None]
