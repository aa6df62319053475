"""CPU-seconds of one training step on two slices of 3 x 256 x 256, ours by default options, torchvision's by its own.

Ours sees them as a run does: magnified and cropped to 224 px by the default, to 160 px by tiny; torchvision's brings
their short side to 800 px.

Run: python tests/bench/train_step.py [DETECTOR/BACKBONE ...], tiny being one of the names. The bars: 6 times cheaper,
and 20 times for tiny.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator

from lungct.models.backbone import build_backbone
from lungct.models.card import ModelCard
from lungct.registry import BACKBONES, DETECTORS
from lungct.training.learner import make_learner
from lungct.training.options import TrainOptions, parse_strides, preset_options

SIDE, BATCH = 256, 2
BARS = {"default": 6.0, "tiny": 20.0}


def batch(side: int) -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
    """Two slices with a nodule each."""
    random = torch.Generator().manual_seed(0)
    images = [torch.rand(3, side, side, generator=random) for _ in range(BATCH)]
    target = {"boxes": torch.tensor([[100.0, 100.0, 116.0, 116.0]]), "labels": torch.tensor([1])}
    return images, [dict(target) for _ in range(BATCH)]


def card_of(options: TrainOptions, norm: str) -> ModelCard:
    """The card that a run with these options has on slices of three channels."""
    strides = parse_strides(options.strides)
    sides = [
        (float(stride),) if options.detector == "fcos" else (2.0 * stride, 3.0 * stride, 4.0 * stride)
        for stride in strides
    ]
    return ModelCard(
        detector=options.detector,
        backbone=options.backbone,
        width=options.width,
        norm=norm,
        fpn_channels=options.fpn_channels,
        strides=strides,
        anchor_sizes_px=tuple(sides),
        in_channels=3,
        hu_window=options.hu_range,
        magnify=options.magnify,
        categories={1: "nodule"},
        head_units=options.head_units,
        sampled_proposals=options.sampled_proposals,
        input_mean=(0.5,) * 3,
        input_std=(0.25,) * 3,
    )


def our_step(options: TrainOptions) -> Callable[[], None]:
    """A step of a learner of ours."""
    learner = make_learner(card_of(options, "batch"), options, None, torch.device("cpu"), "")
    learner.detector.train()
    loaded = batch(min(options.crop_px, int(SIDE * options.magnify)))

    def step() -> None:
        learner.begin(1e-5)
        learner.look(loaded, 1.0)
        learner.finish()

    return step


def their_step(detector: str, backbone: str) -> Callable[[], None]:
    """A step of torchvision's detector at its defaults (short side 800, 256 channels), on the same trunk."""
    torch.manual_seed(0)
    strides = "4,8,16,32"
    wide = TrainOptions(detector=detector, backbone=backbone, strides=strides, fpn_channels=256)
    trunk = build_backbone(card_of(wide, "frozen"))
    sizes = ((32,), (64,), (128,), (256,))
    anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 4)
    if detector == "faster-rcnn":
        made: Any = detection.FasterRCNN(trunk, 2, rpn_anchor_generator=anchors)
    elif detector == "retinanet":
        made = detection.RetinaNet(trunk, 2, anchor_generator=anchors)
    else:
        made = detection.FCOS(trunk, 2, anchor_generator=AnchorGenerator(((4,), (8,), (16,), (32,)), ((1.0,),) * 4))
    optimizer = torch.optim.SGD([one for one in made.parameters() if one.requires_grad], lr=1e-5, momentum=0.9)
    images, targets = batch(SIDE)
    made.train()

    def step() -> None:
        optimizer.zero_grad()
        sum(made(images, targets).values()).backward()
        optimizer.step()

    return step


def cpu_seconds(step: Callable[[], None], repeats: int) -> float:
    """Of one step, the least of some, after one that warms up."""
    step()
    found = []
    for _ in range(repeats):
        begun = time.process_time()
        step()
        found.append(time.process_time() - begun)
    return min(found)


def main(names: list[str]) -> None:
    """Print a line for each pair."""
    names = names or ["tiny", *(f"{detector}/{backbone}" for backbone in BACKBONES for detector in DETECTORS)]
    for name in names:
        preset = "tiny" if name == "tiny" else "default"
        detector, backbone = ("faster-rcnn", "mobilenet-v2") if name == "tiny" else name.split("/")
        ours = cpu_seconds(our_step(preset_options(preset, {"detector": detector, "backbone": backbone})), 3)
        theirs = cpu_seconds(their_step(detector, backbone), 1)
        ratio = theirs / ours
        verdict = "holds" if ratio >= BARS[preset] else "missed"
        print(f"{name}: {ours:.2f} CPU-s, torchvision's {theirs:.2f}: {ratio:.1f} x (bar {BARS[preset]:g}, {verdict})")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
