"""The learning-rate range test: a short run whose rate grows at every step, and the rate that learned fastest."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from lungct.data.sampling import EpochBatches
from lungct.errors import InputError, UsageError
from lungct.models.device import pick_device, use_threads
from lungct.training.learner import make_learner
from lungct.training.loop import training_batches
from lungct.training.memory import advice, limit_gpu_memory
from lungct.training.options import Execution, TrainOptions
from lungct.training.setup import chosen_weights, make_card, read_splits
from lungct.types import Progress, no_progress

LOWEST, HIGHEST = 1e-6, 1.0
STEPS = 100
SMOOTHING = 0.9
SETTLED = 10
"""Steps until the smoothed loss is one: as many batches as it weighs."""
DIVERGED = 4.0
"""The test ends where the smoothed loss is so many times its least value."""


@dataclass(frozen=True)
class RateTest:
    """The outcome.

    Attributes:
        lr: the rate of the steepest fall of the smoothed loss.
        rates, losses: of each step, losses smoothed.
    """

    lr: float
    rates: tuple[float, ...]
    losses: tuple[float, ...]

    def facts(self) -> dict[str, Any]:
        """Values for a table or JSON."""
        least = min(range(len(self.losses)), key=self.losses.__getitem__)
        return {
            "lr": float(f"{self.lr:.2g}"),
            "least_loss_at": float(f"{self.rates[least]:.2g}"),
            "ended_at": float(f"{self.rates[-1]:.2g}"),
            "steps": len(self.rates),
        }


def find_lr(
    slices: Path,
    options: TrainOptions,
    *,
    execution: Execution | None = None,
    steps: int = STEPS,
    progress: Progress = no_progress,
) -> RateTest:
    """Train for up to ``steps`` steps from the run's own start, the rate growing from 1e-6 to 1; writes nothing.

    Source: Smith 2017, section 3.3; read at the steepest fall in place of by eye, smoothed without a bias to the start.

    Raises:
        InputError, UsageError, EnvironmentError_: as the run itself would; UsageError too where the loss never fell.
    """
    execution = execution or Execution()
    use_threads(execution.threads)
    device = pick_device(execution.device)
    limit_gpu_memory(device, execution.gpu_bytes)
    with advice(options, execution.gpu_bytes):
        return _find_lr(slices, options, execution, device, steps, progress)


def _find_lr(
    slices: Path, options: TrainOptions, execution: Execution, device: torch.device, steps: int, progress: Progress
) -> RateTest:
    splits, weights = read_splits(slices), chosen_weights(options)
    card = make_card(splits.train, options, weights)
    learner = make_learner(card, options, weights, device, splits.digest)
    batches, loader = training_batches(splits.train, card, options, workers=execution.workers, device=device)
    torch.manual_seed(options.seed)
    learner.detector.train()
    rates: list[float] = []
    losses: list[float] = []
    running = 0.0
    for step, loaded in enumerate(itertools.islice(_endless(batches, loader), steps)):
        if isinstance(loaded, InputError):
            raise loaded
        rate = LOWEST * (HIGHEST / LOWEST) ** (step / max(steps - 1, 1))
        learner.begin(rate)
        loss = learner.look(loaded, 1.0)["loss"]
        if not math.isfinite(loss):
            break
        learner.finish()
        running = SMOOTHING * running + (1 - SMOOTHING) * loss
        rates.append(rate)
        losses.append(running / (1 - SMOOTHING ** (step + 1)))
        progress("rates", step + 1, steps)
        if losses[-1] > DIVERGED * min(losses):
            break
    return RateTest(steepest(rates, losses), tuple(rates), tuple(losses))


def _endless(batches: EpochBatches, loader: DataLoader[Any]) -> Iterator[Any]:
    for epoch in itertools.count():
        batches.epoch = epoch
        yield from loader


def steepest(rates: list[float], losses: list[float]) -> float:
    """The rate in the middle of the steepest fall before the least loss, looked at over a few steps each.

    The first losses are means of few batches, so they fall and rise by chance, and are not looked at.

    Raises:
        UsageError: the loss never fell.
    """
    begin = min(SETTLED, len(losses) // 2)
    least = min(range(begin, len(losses)), key=losses.__getitem__, default=0)
    span = max(least // 8, 1)
    falls = [losses[at] - losses[at + span] for at in range(begin, least - span + 1)]
    if not falls or max(falls) <= 0:
        raise UsageError("the loss fell at no rate", "check the slices, or give more of them")
    return rates[begin + falls.index(max(falls)) + span // 2]
