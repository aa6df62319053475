"""Everything that can be chosen about a training run, and the presets that choose it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from lungct import registry
from lungct.data.pools import SamplingOptions
from lungct.errors import UsageError
from lungct.models.losses import Losses
from lungct.registry import HU_WINDOWS, STRIDES
from lungct.training.checks import check_choices, check_kinds
from lungct.training.schedule import Schedule

CHOICES: Mapping[str, Collection[str]] = {
    "detector": registry.DETECTORS,
    "backbone": registry.BACKBONES,
    "stem": registry.STEMS,
    "norm": registry.NORMS,
    "class_loss": registry.CLASS_LOSSES,
    "box_loss": registry.BOX_LOSSES,
    "optimizer": registry.OPTIMIZERS,
    "schedule": registry.SCHEDULES,
    "hu_window": registry.HU_WINDOWS,
    "amp": registry.AMP,
    "augment": registry.AUGMENTATIONS,
    "sampling": registry.SAMPLINGS,
}
"""Training option -> what it may be."""

NAMED_WEIGHTS = ("none", "imagenet", "coco")
"""Weights that are no path."""

PRESETS_ALONE = ("width", "fpn_channels", "head_units", "sampled_proposals")
"""Options that no flag has; a preset chooses them."""


@dataclass(frozen=True)
class Execution:
    """How a run is carried out; none of it changes what is learned on a CPU, but for the last bits with ``threads``.

    Attributes:
        gpu_bytes: most that tensors may take of a GPU; 0 for all of it.
        tensorboard: also write TensorBoard's events.
    """

    device: str = "auto"
    threads: int = 0
    workers: int = 0
    gpu_bytes: int = 0
    tensorboard: bool = False


@dataclass(frozen=True)
class TrainOptions:
    """The resolved options of one run; two runs with equal options and slices give equal bytes on a CPU.

    Attributes:
        weights: ``none``, ``imagenet``, ``coco``, a run folder or a file of weights.
        stem: how filters for other numbers of channels come from the weights': ``mean`` or ``repeat``.
        norm: of ``registry.NORMS``.
        trainable_stages: of the backbone, deepest first, that learn; as many as levels for all.
        strides: of the pyramid's levels, of ``registry.STRIDES``, split by commas.
        anchors: ``auto``, or sides in network pixels, levels split by commas, several of one level by slashes.
        sampled_proposals: per image in the second stage's losses; few make its few true boxes count for more.
        class_loss, box_loss: of ``registry.CLASS_LOSSES`` and ``registry.BOX_LOSSES``.
        focal_alpha, focal_gamma: of the focal loss.
        magnify: network pixels per stored pixel.
        crop_px: side of a training crop, network pixels; 0 for whole slices.
        accumulate: batches whose gradients make one step.
        optimizer, schedule: of ``registry.OPTIMIZERS`` and ``registry.SCHEDULES``.
        warmup: share of all steps in which the rate grows to ``lr``.
        lr_cut: factor of the rate at a milestone or on a plateau.
        milestones: shares of the steps at which the ``step`` schedule cuts, split by commas.
        cycles: of warm restarts, each twice as long as the one before.
        lr_patience: validations without a better one after which ``plateau`` cuts.
        clip_norm: gradients are scaled down to this norm; 0 leaves them. The default is met only by steps that would
            throw a young detector off.
        ema: decay of the moving average of the weights, which is then what is validated and kept; 0 for none.
        compile: compile the backbone.
        validate_every: epochs between validations; the last epoch is always validated.
        augment: of ``registry.AUGMENTATIONS``.
        mosaic: chance that parts of four slices stand side by side in place of one.
        sampling: of ``registry.SAMPLINGS``.
        positive_share: of each batch that has nodules; 0 leaves it as it comes.
        hard_negatives: a file of detections on the training split, whose false positives are seen again; or nothing.
        hard_share: of each batch that is drawn for these.
        patience: validations without a better one before the run ends; 0 never ends early.
        amp: ``auto``, ``off``, ``bf16``, ``fp16``.
    """

    preset: str = "default"
    detector: str = "faster-rcnn"
    backbone: str = "mobilenet-v2"
    weights: str = "none"
    stem: str = "mean"
    norm: str = "auto"
    trainable_stages: int = len(STRIDES)
    strides: str = "4,8,16"
    width: float = 1.0
    fpn_channels: int = 96
    head_units: int = 256
    sampled_proposals: int = 64
    class_loss: str = "auto"
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    box_loss: str = "auto"
    epochs: int = 40
    batch: int = 4
    accumulate: int = 1
    optimizer: str = "adamw"
    lr: float = 5e-4
    weight_decay: float = 1e-4
    warmup: float = 0.05
    schedule: str = "cosine"
    lr_cut: float = 0.1
    milestones: str = "0.7,0.9"
    cycles: int = 3
    lr_patience: int = 2
    clip_norm: float = 10.0
    ema: float = 0.998
    anchors: str = "auto"
    magnify: float = 1.25
    crop_px: int = 224
    hu_window: str = "thesis"
    amp: str = "auto"
    channels_last: bool = True
    compile: bool = False
    validate_every: int = 5
    patience: int = 0
    augment: str = "default"
    mosaic: float = 0.0
    sampling: str = "shuffle"
    positive_share: float = 0.0
    hard_negatives: str = ""
    hard_share: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        check_kinds(self)
        check_choices(self, CHOICES)
        checks = {
            "--focal-alpha (0..1)": 0 <= self.focal_alpha <= 1,
            "--focal-gamma": 0 <= self.focal_gamma < math.inf,
            "--epochs": self.epochs >= 1,
            "--batch": self.batch >= 1,
            "--lr": 0 < self.lr < math.inf,
            "--weight-decay": 0 <= self.weight_decay < math.inf,
            "--warmup (0..1)": 0 <= self.warmup <= 1,
            "--magnify": 0 < self.magnify < math.inf,
            "--crop (0, or at least 64)": self.crop_px == 0 or self.crop_px >= 64,
            "--accumulate": self.accumulate >= 1,
            "--lr-cut (above 0, below 1)": 0 < self.lr_cut < 1,
            "--cycles (1..10)": 1 <= self.cycles <= 10,
            "--lr-patience": self.lr_patience >= 1,
            "--clip-norm": 0 <= self.clip_norm < math.inf,
            "--ema (0, or below 1)": 0 <= self.ema < 1,
            "--validate-every": self.validate_every >= 1,
            "--patience": self.patience >= 0,
            "--mosaic (0..1)": 0 <= self.mosaic <= 1,
            "--positive-share (0..1)": 0 <= self.positive_share <= 1,
            "--hard-share (above 0, below 1)": 0 < self.hard_share < 1,
            "--trainable-stages (0..4)": 0 <= self.trainable_stages <= len(STRIDES),
            "--seed (0 to 2^40)": 0 <= self.seed <= 2**40,
        }
        for name, good in checks.items():
            if not good:
                raise UsageError(f"{name} is out of range")
        parse_strides(self.strides)
        parse_milestones(self.milestones)
        if self.weights == "none" and self.norm in ("frozen", "folded"):
            raise UsageError(f"--norm {self.norm} keeps the norms of pretrained weights", "name some with --weights")
        if self.weights == "none" and self.trainable_stages < len(STRIDES):
            raise UsageError("--trainable-stages keeps pretrained weights", "name some with --weights")
        if self.weights in ("imagenet", "coco") and self.width != 1.0:
            raise UsageError("pretrained weights need the full width", "leave out --weights or take --preset default")
        if self.detector == "fcos" and self.anchors != "auto":
            raise UsageError("--anchors: FCOS has none", "leave it out, or take another --detector")

    @property
    def hu_range(self) -> tuple[float, float]:
        """The chosen window, HU."""
        low, high = HU_WINDOWS[self.hu_window]
        return float(low), float(high)

    @property
    def rates(self) -> Schedule:
        """The chosen course of the learning rate."""
        return Schedule(
            self.schedule,
            self.lr,
            self.warmup,
            self.lr_cut,
            parse_milestones(self.milestones),
            self.cycles,
            self.lr_patience,
        )

    @property
    def losses(self) -> Losses:
        """The chosen losses."""
        return Losses(self.class_loss, self.focal_alpha, self.focal_gamma, self.box_loss)

    @property
    def sampling_options(self) -> SamplingOptions:
        """How slices are drawn."""
        return SamplingOptions(self.sampling, self.epochs, self.positive_share, self.hard_share)

    def record(self) -> dict[str, Any]:
        """The options as flat values, file names without their folders."""
        values = dataclasses.asdict(self)
        for name in ("weights", "hard_negatives"):
            values[name] = values[name].replace("\\", "/").rsplit("/", 1)[-1]
        return values


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "tiny": {
        "width": 0.5,
        "fpn_channels": 64,
        "head_units": 128,
        "epochs": 24,
        "lr": 1e-3,
        "magnify": 1.0,
        "crop_px": 160,
        "channels_last": True,
        "sampled_proposals": 32,
        "validate_every": 8,
    },
}


def preset_options(preset: str, given: Mapping[str, Any]) -> TrainOptions:
    """The options of a preset, with those that are given (not None) on top.

    Raises:
        UsageError: no such preset, or options that cannot be.
    """
    if preset not in PRESETS:
        raise UsageError(f"preset {preset!r} is none of {', '.join(PRESETS)}")
    chosen = {name: value for name, value in given.items() if value is not None}
    return TrainOptions(**{"preset": preset, **PRESETS[preset], **chosen})


def parse_anchors(text: str, levels: int) -> tuple[tuple[float, ...], ...]:
    """``6,12,24`` or ``6/9,12/18,24/36`` as sides per level.

    Raises:
        UsageError: not numbers, not one entry per level, or levels of different length.
    """
    try:
        rows = tuple(tuple(float(one) for one in level.split("/")) for level in text.split(","))
    except ValueError:
        raise UsageError(f"--anchors {text!r} is neither auto nor sides such as 6,12,24") from None
    if len(rows) != levels or len({len(row) for row in rows}) != 1 or min(min(row) for row in rows) <= 0:
        raise UsageError(f"--anchors {text!r} must name as many positive sides for each of the {levels} levels")
    return rows


def parse_strides(text: str) -> tuple[int, ...]:
    """``4,8,16`` as strides, finest first.

    Raises:
        UsageError: not growing, or none of ``registry.STRIDES``.
    """
    parts = [one.strip() for one in text.split(",")]
    strides = tuple(stride for stride in STRIDES if str(stride) in parts)
    if [str(stride) for stride in strides] != parts:
        raise UsageError(f"--strides {text!r} must be growing strides of {', '.join(map(str, STRIDES))}")
    return strides


def parse_milestones(text: str) -> tuple[float, ...]:
    """``0.7,0.9`` as growing shares of the steps.

    Raises:
        UsageError: not so.
    """
    try:
        shares = tuple(float(one) for one in text.split(","))
    except ValueError:
        shares = ()
    if not shares or list(shares) != sorted(set(shares)) or not 0 < shares[0] <= shares[-1] < 1:
        raise UsageError(f"--milestones {text!r} must be growing shares of the steps such as 0.7,0.9")
    return shares
