"""What learns, a detector with its optimiser, scaler and average, and one step of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lungct.models.card import ModelCard
from lungct.models.device import amp_dtype, autocast, check_compiles
from lungct.models.ranks import average_gradients, mean_values, world
from lungct.models.sync_norm import sync_norms
from lungct.models.transfer import Transferred
from lungct.models.weights import PretrainedWeights
from lungct.training.average import Average
from lungct.training.optimizer import make_optimizer
from lungct.training.options import TrainOptions
from lungct.training.setup import initial_detector
from lungct.training.together import same_start


@dataclass(frozen=True, eq=False)
class Learner:
    """The things that a state is made of.

    Attributes:
        identity: options and digest of the slices; a state goes on only where they are the same.
        amp: number format of the forward pass, None for float32.
        clip_norm: gradients are scaled down to this norm; 0 leaves them.
        average: of the weights, where it is asked for.
        begun_with: what it took over of pretrained weights, where there are any.
    """

    detector: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    identity: dict[str, Any]
    amp: torch.dtype | None = None
    clip_norm: float = 0.0
    average: Average | None = None
    begun_with: Transferred | None = None

    @property
    def result(self) -> nn.Module:
        """What is validated and kept: the average where there is one."""
        return self.detector if self.average is None else self.average.model

    @property
    def device(self) -> torch.device:
        """Where it learns."""
        return next(self.detector.parameters()).device

    def begin(self, rate: float) -> None:
        """Start a step of the optimiser."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)

    def look(self, loaded: tuple[Any, Any], share: float) -> dict[str, float]:
        """Add ``share`` of a batch's gradients to the step; the losses, ``loss`` being their sum.

        Where the sum is not finite no gradient is added.
        """
        device = self.device
        images = [one.to(device, non_blocking=True) for one in loaded[0]]
        targets = [{name: value.to(device, non_blocking=True) for name, value in one.items()} for one in loaded[1]]
        with autocast(device, self.amp):
            losses: dict[str, torch.Tensor] = self.detector(images, targets)
        total = torch.stack([one.float() for one in losses.values()]).sum()
        values = {"loss": float(total.detach())}
        values |= {_loss_name(name): float(one.detach()) for name, one in losses.items()}
        values = mean_values(values, device)
        if math.isfinite(values["loss"]):
            self.scaler.scale(total * share).backward()
        return values

    def finish(self) -> None:
        """End the step, by the mean of all processes' gradients.

        Gradients that overflowed float16 are left out, and the scaler scales less from then on.
        """
        average_gradients(self.detector.parameters())
        self.scaler.unscale_(self.optimizer)
        if self.clip_norm:
            nn.utils.clip_grad_norm_(self.detector.parameters(), self.clip_norm)
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None and self.scaler.get_scale() >= scale:
            self.average.update(self.detector)


def _loss_name(name: str) -> str:
    return name if name.startswith("loss_") else f"loss_{name}"


def make_learner(
    card: ModelCard, options: TrainOptions, weights: PretrainedWeights | None, device: torch.device, digest: str
) -> Learner:
    """The learner of a run at its start; ``digest`` is that of its slices.

    Raises:
        InputError: weights that do not fit.
        EnvironmentError_: ``compile`` without a compiler.
    """
    detector, begun_with = initial_detector(card, options, weights)
    detector = detector.to(device)
    if world() > 1:
        detector = sync_norms(detector)
        same_start(detector)
    if options.channels_last:
        detector = detector.to(memory_format=torch.channels_last)
    average = Average(detector, options.ema) if options.ema else None
    if options.compile:
        check_compiles(device)
        backbone: Any = detector.backbone
        backbone.compile()  # the heads' shapes depend on what is found, the backbone's on the image alone
    amp = amp_dtype(options.amp, device)
    return Learner(
        detector,
        make_optimizer(detector, options),
        torch.amp.GradScaler(device.type, enabled=amp is torch.float16),
        {**options.record(), "slices": digest},
        amp,
        options.clip_norm,
        average,
        begun_with,
    )
