"""One epoch of training: batches in, mean losses by name out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from lungct.data.dataset import TrainingSlices, collate
from lungct.data.sampling import EpochBatches
from lungct.errors import InputError, UsageError
from lungct.models.device import autocast
from lungct.training.options import TrainOptions
from lungct.training.schedule import rate_at
from lungct.training.state import Learner

GRADIENT_NORM = 10.0
"""Gradients are scaled down to this norm; it is met only by steps that would throw a young detector off."""


def make_loader(slices: TrainingSlices, batches: EpochBatches, *, workers: int, pin: bool) -> DataLoader[Any]:
    """Batches of a split; what they hold does not depend on the number of workers."""
    return DataLoader(
        slices,
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin,
        generator=torch.Generator().manual_seed(0),  # it would draw from the global one, which seeds the losses
    )


def make_optimizer(detector: nn.Module, options: TrainOptions) -> torch.optim.Optimizer:
    """AdamW; weight decay on weights alone, not on biases and norms."""
    parameters = [one for one in detector.parameters() if one.requires_grad]
    groups = [
        {"params": [one for one in parameters if one.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [one for one in parameters if one.ndim <= 1], "weight_decay": 0.0},
    ]
    fused = {one.device.type for one in parameters} <= {"cpu", "cuda"}  # one pass over memory where there is a kernel
    return torch.optim.AdamW(groups, lr=options.lr, fused=fused)


def run_epoch(
    learner: Learner,
    loader: DataLoader[Any],
    options: TrainOptions,
    *,
    epoch: int,
    amp: torch.dtype | None,
    on_step: Callable[[int], None],
) -> dict[str, float]:
    """Train for one epoch (0, 1, ...); returns step, rate and the mean of each loss.

    Seeds torch from the seed and the epoch, so an epoch needs nothing of the ones before it but weights and moments.

    Raises:
        UsageError: the loss is not finite any more.
        InputError: a slice that cannot be read.
    """
    torch.manual_seed(options.seed * 1_000_003 + epoch + 1)
    learner.detector.train()
    device = next(learner.detector.parameters()).device
    steps = len(loader) * options.epochs
    sums: dict[str, float] = defaultdict(float)
    rate = 0.0
    for number, loaded in enumerate(loader):
        if isinstance(loaded, InputError):
            raise loaded
        step = epoch * len(loader) + number
        rate = rate_at(step, steps, lr=options.lr, warmup=options.warmup, schedule=options.schedule)
        for name, value in _step(learner, loaded, device, amp, rate).items():
            if not math.isfinite(value):
                raise UsageError(
                    f"the loss is not finite at step {step} of epoch {epoch + 1} ({name} = {value})",
                    "lower --lr, or use --amp off",
                )
            sums[name] += value
        on_step(step + 1)
    means = {name: round(value / len(loader), 6) for name, value in sums.items()}
    return {"epoch": epoch + 1, "step": (epoch + 1) * len(loader), "lr": rate, **means}


def _step(
    learner: Learner, loaded: tuple[Any, Any], device: torch.device, amp: torch.dtype | None, rate: float
) -> dict[str, float]:
    """One step of the optimiser; the losses before it, ``loss`` being their sum."""
    images = [one.to(device, non_blocking=True) for one in loaded[0]]
    targets = [{name: value.to(device, non_blocking=True) for name, value in one.items()} for one in loaded[1]]
    for group in learner.optimizer.param_groups:
        group["lr"] = rate
    learner.optimizer.zero_grad(set_to_none=True)
    with autocast(device, amp):
        losses: dict[str, torch.Tensor] = learner.detector(images, targets)
    total = torch.stack([one.float() for one in losses.values()]).sum()
    values = {"loss": float(total.detach())}
    values |= {_loss_name(name): float(one.detach()) for name, one in losses.items()}
    if math.isfinite(values["loss"]):
        learner.scaler.scale(total).backward()
        learner.scaler.unscale_(learner.optimizer)
        nn.utils.clip_grad_norm_(learner.detector.parameters(), GRADIENT_NORM)
        learner.scaler.step(learner.optimizer)
        learner.scaler.update()
    return values


def _loss_name(name: str) -> str:
    return name if name.startswith("loss_") else f"loss_{name}"
