"""What a training run would take, without training: sizes, steps and memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lungct.data.hard_spots import hard_spots
from lungct.data.pools import batches_per_epoch
from lungct.training.loop import steps_of
from lungct.training.options import TrainOptions
from lungct.training.setup import chosen_weights, initial_detector, make_card, reached_share, read_splits

OPTIMISER_COPIES = {"adamw": 4, "adam": 4, "sgd": 3}
"""Weights, gradients and moments."""


def plan(slices: Path, options: TrainOptions) -> dict[str, Any]:
    """Facts of the run that ``options`` would make; builds the detector and looks at one input, writes nothing.

    Raises:
        InputError, UsageError, EnvironmentError_: as the run itself would.
    """
    splits = read_splits(slices)
    if options.hard_negatives:
        hard_spots(Path(options.hard_negatives), splits.train)
    weights = chosen_weights(options)
    card = make_card(splits.train, options, weights)
    detector = initial_detector(card, options, weights)
    parameters = sum(one.numel() for one in detector.parameters())
    largest = max(max(image.width, image.height) for image in splits.train.images)
    side = options.crop_px or int(largest * options.magnify)
    per_epoch = steps_of(
        batches_per_epoch(splits.train, options.sampling_options, options.batch, hard=bool(options.hard_negatives)),
        options.accumulate,
    )
    held = _activation_bytes(detector, (card.in_channels, side, side)) * options.batch
    copies = OPTIMISER_COPIES[options.optimizer] + bool(options.ema)
    return {
        "detector": card.detector,
        "parameters": parameters,
        "anchors_px": " ".join("/".join(f"{one:g}" for one in level) for level in card.anchor_sizes_px),
        "anchor_recall": reached_share(splits.train, card),
        "input_px": f"{card.in_channels} x {side} x {side}",
        "training_slices": len(splits.train.images),
        "validation_slices": 0 if splits.val is None else len(splits.val.images),
        "steps": per_epoch * options.epochs,
        "steps_per_epoch": per_epoch,
        "memory_mib": round((held + copies * 4 * parameters) / 2**20),
    }


@torch.no_grad()
def _activation_bytes(detector: nn.Module, shape: tuple[int, int, int]) -> int:
    """Bytes of what the pyramid's layers put out for one input: about what the backward pass keeps of them."""
    total = 0

    def add(module: nn.Module, given: Any, output: Any) -> None:
        nonlocal total
        if isinstance(output, Tensor):
            total += output.numel() * output.element_size()

    pyramid: Any = detector.backbone
    hooks = [one.register_forward_hook(add) for one in pyramid.modules() if not list(one.children())]
    pyramid.eval()
    pyramid(torch.zeros(1, *shape))
    for hook in hooks:
        hook.remove()
    return total
