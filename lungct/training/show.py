"""What a run would be shown: its first training samples with their boxes on one sheet."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lungct.data.sampling import Draw, EpochBatches
from lungct.errors import InputError
from lungct.report.sample_sheet import write_sample_sheet
from lungct.training.loop import training_batches
from lungct.training.options import TrainOptions
from lungct.training.setup import chosen_weights, make_card, read_splits

SAMPLES, COLUMNS = 24, 6


def show_augmentations(
    path: Path, slices: Path, options: TrainOptions, *, samples: int = SAMPLES, overwrite: bool = False
) -> dict[str, Any]:
    """Write the first samples of a run as a PNG, middle channels, as the network gets them; facts of them.

    Raises:
        InputError, UsageError, EnvironmentError_, OutputExists: as the run itself would.
    """
    truth = read_splits(slices).train
    card = make_card(truth, options, chosen_weights(options))
    batches, loader = training_batches(truth, card, options, workers=0, device=torch.device("cpu"))
    images, boxes, captions = [], [], []
    for key, image, target in itertools.islice(_samples(batches, loader), samples):
        images.append(image[len(image) // 2].numpy())
        boxes.append(target["boxes"].numpy().astype(np.float64))
        captions.append(str(truth.images[key.image].id))
    sides = np.concatenate([(one[:, 2:] - one[:, :2]).max(1) for one in boxes])
    title = f"--augment {options.augment}, seed {options.seed}: training samples by the ids of their images"
    write_sample_sheet(path, images, boxes, captions, title=title, columns=COLUMNS, overwrite=overwrite)
    return {
        "augment": options.augment,
        "samples": len(images),
        "boxes": len(sides),
        "box_side_px": " to ".join(f"{one:.1f}" for one in (sides.min(), sides.max())) if len(sides) else "none",
    }


def _samples(batches: EpochBatches, loader: DataLoader[Any]) -> Iterator[tuple[Draw, Tensor, dict[str, Tensor]]]:
    """Epoch after epoch, without end."""
    for batches.epoch in itertools.count():
        for batch, loaded in zip(batches, loader, strict=True):
            if isinstance(loaded, InputError):
                raise loaded
            yield from zip(batch, *loaded, strict=True)
