"""One epoch of training: batches in, mean losses by name out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from lungct.data.augmentation import PRESETS
from lungct.data.dataset import TrainingSlices, collate
from lungct.data.hard_spots import hard_spots
from lungct.data.pools import make_batches
from lungct.data.reader import SliceReader
from lungct.data.sampling import Draw, EpochBatches
from lungct.data.view import ViewOptions
from lungct.errors import InputError, UsageError
from lungct.io.coco import CocoTruth
from lungct.models.card import ModelCard
from lungct.models.draws import KEY
from lungct.models.ranks import rank
from lungct.models.young_norms import young_statistics
from lungct.training.learner import Learner
from lungct.training.options import TrainOptions
from lungct.training.together import OwnPart, check_divides


def make_loader(slices: TrainingSlices, batches: Sampler[list[Draw]], *, workers: int, pin: bool) -> DataLoader[Any]:
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


def training_batches(
    truth: CocoTruth, card: ModelCard, options: TrainOptions, *, workers: int, device: torch.device
) -> tuple[EpochBatches, DataLoader[Any]]:
    """The batches of a run; set ``epoch`` of the first before going through the second.

    Raises:
        InputError: a file of hard negatives that is not of this split; with a curriculum a slice that cannot be read.
        UsageError: sampling that the split does not allow.
    """
    how = replace(PRESETS[options.augment], mosaic_chance=options.mosaic)
    view = ViewOptions(card.hu_window, card.magnify, options.crop_px, how)
    hard = hard_spots(Path(options.hard_negatives), truth) if options.hard_negatives else None
    read = SliceReader(truth)
    dataset = TrainingSlices(
        truth,
        view,
        seed=options.seed,
        in_channels=card.in_channels,
        spots_xyxy_px=None if hard is None else hard.boxes_xyxy_px,
        read=read,
    )
    batches = make_batches(
        truth, options.sampling_options, batch=options.batch, seed=options.seed, read=read, hard=hard
    )
    check_divides(options.batch)
    return batches, make_loader(dataset, OwnPart(batches), workers=workers, pin=device.type == "cuda")


def ahead(loader: DataLoader[Any]) -> Iterator[Any]:
    """The batches of a loader, each made in a thread while the one before is learned from."""
    with ThreadPoolExecutor(1) as thread:
        batches = iter(loader)
        coming = thread.submit(next, batches, None)
        while (loaded := coming.result()) is not None:
            coming = thread.submit(next, batches, None)
            yield loaded


def run_epoch(
    learner: Learner,
    loader: DataLoader[Any],
    options: TrainOptions,
    *,
    epoch: int,
    scores: Sequence[float],
    on_batch: Callable[[int], None],
) -> dict[str, float]:
    """Train for one epoch (0, 1, ...); returns step, rate and the mean of each loss.

    Seeds torch from the seed and the epoch, so an epoch needs nothing of the ones before it but the learner's state
    and ``scores``, the validations so far.

    Raises:
        UsageError: the loss is not finite any more.
        InputError: a slice that cannot be read.
    """
    torch.manual_seed(options.seed * 1_000_003 + epoch + 1)
    learner.detector.train()
    rates, together, from_scratch = options.rates, options.accumulate, options.weights == "none"
    per_epoch = steps_of(len(loader), together)
    sums: dict[str, float] = defaultdict(float)
    step, rate = epoch * per_epoch, 0.0
    for number, loaded in enumerate(ahead(loader)):
        if isinstance(loaded, InputError):
            raise loaded
        if number % together == 0:
            rate = rates.rate(step, per_epoch * options.epochs, scores)
            learner.begin(rate)
        _mark_draws(loaded[1], options, epoch, number)
        share = 1 / min(together, len(loader) - number // together * together)
        with young_statistics(learner.detector, epoch * len(loader) + number) if from_scratch else nullcontext():
            losses = learner.look(loaded, share)
        for name, value in losses.items():
            if not math.isfinite(value):
                raise UsageError(
                    f"the loss is not finite at step {step} of epoch {epoch + 1} ({name} = {value})",
                    "lower --lr, or use --amp off",
                )
            sums[name] += value
        if (number + 1) % together == 0 or number + 1 == len(loader):
            learner.finish()
            step += 1
        on_batch(epoch * len(loader) + number + 1)
    means = {name: round(value / len(loader), 6) for name, value in sums.items()}
    return {"epoch": epoch + 1, "step": step, "lr": rate, **means}


def _mark_draws(targets: Sequence[dict[str, Tensor]], options: TrainOptions, epoch: int, batch: int) -> None:
    """Say what each image's samples in the losses are drawn from: its place in the run, not in this process."""
    first = rank() * len(targets)
    for place, target in enumerate(targets, first):
        seeds = np.random.SeedSequence((options.seed, epoch, batch, place)).generate_state(1, np.uint64)
        target[KEY] = torch.tensor(int(seeds[0] >> 2))


def steps_of(batches: int, together: int) -> int:
    """Steps of the optimiser in ``batches`` batches, the last of which may be of fewer than ``together``."""
    return -(-batches // together)
