"""Which slices are drawn how often: the streams that the sampling options ask for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from lungct.data.difficulty import difficulties
from lungct.data.hard_spots import HardSpots
from lungct.data.sampling import EpochBatches
from lungct.data.streams import Cycled, Eligible, Spots, Stream
from lungct.errors import UsageError
from lungct.io.coco import CocoImage, CocoTruth

ClassKey = tuple[int, bool]
"""Category, and whether malignant, where that is what is balanced."""


@dataclass(frozen=True)
class SamplingOptions:
    """How slices are drawn.

    Attributes:
        name: of ``registry.SAMPLINGS``.
        epochs: of the run, over which a curriculum advances.
        positive_share: of each batch that has nodules; 0 leaves it as it comes.
        hard_share: of each batch that is drawn for hard spots, where there are some.
    """

    name: str = "shuffle"
    epochs: int = 1
    positive_share: float = 0.0
    hard_share: float = 0.25

    def limit(self, epoch: int) -> float:
        """The greatest difficulty of epoch 0, 1, ...: .4 + epoch / 6, or balanced .35 + the share of epochs done.

        Source: the curriculum of a 2.5D nodule detector on NLST and DLCS24.
        """
        return 0.4 + epoch / 6 if self.name == "curriculum" else 0.35 + epoch / self.epochs


def make_batches(
    truth: CocoTruth,
    options: SamplingOptions,
    *,
    batch: int,
    seed: int,
    read: Callable[[CocoImage], NDArray[Any]],
    hard: HardSpots | None = None,
) -> EpochBatches:
    """The batches of a run over a split.

    Shuffled and curriculum epochs are as many slices as the split has. A balanced one ends when the largest class was
    seen once, the small ones being cycled; slices without a nodule keep their share of the split. A slice of several
    classes counts for the one that the fewest slices have. Of a single category, benign and malignant nodules are
    balanced where every annotation says which it is.

    Args:
        read: gives the (C, Y, X) HU of an image; a curriculum reads every image with a nodule once.
        hard: places that get ``hard_share`` of the draws.

    Raises:
        UsageError: slices without nodules are asked for and there are none.
    """
    groups, negatives, share = _parts(truth, options)
    each = share / len(groups)
    pairs = [(each, one) for one in groups] + ([(1 - share, negatives)] if share < 1 else [])
    streams: list[Stream]
    if "curriculum" in options.name:
        difficulty = difficulties(truth, read)
        streams = [Eligible(part, one, difficulty[one], options.limit) for part, one in pairs]
    elif "balanced" in options.name or options.positive_share:
        streams = [Cycled(part, one) for part, one in pairs]
    else:
        streams = [Cycled(1.0, range(len(truth.images)))]
    if hard is not None:
        streams.append(Spots(options.hard_share / (1 - options.hard_share), hard.index, hard.scores))
    count = batches_per_epoch(truth, options, batch, hard=hard is not None)
    return EpochBatches(streams, batch, seed, count)


def batches_per_epoch(truth: CocoTruth, options: SamplingOptions, batch: int, *, hard: bool) -> int:
    """How many batches an epoch has.

    Raises:
        UsageError: see :func:`make_batches`.
    """
    groups, _, share = _parts(truth, options)
    slices: float = len(truth.images)
    if "balanced" in options.name:
        slices = max(map(len, groups)) * len(groups) / share / (1 - options.hard_share if hard else 1)
    return math.ceil(slices / batch - 1e-9)


def _parts(truth: CocoTruth, options: SamplingOptions) -> tuple[list[list[int]], list[int], float]:
    """Slices with nodules in groups of equal shares, slices without, and the share of the former in a batch."""
    classes = classes_of(truth)
    groups: dict[ClassKey, list[int]] = {}
    for number, key in enumerate(classes):
        if key is not None:
            groups.setdefault(key if "balanced" in options.name else (0, False), []).append(number)
    negatives = [number for number, key in enumerate(classes) if key is None]
    share = options.positive_share or 1 - len(negatives) / len(classes)
    if share < 1 and not negatives:
        raise UsageError(
            f"--positive-share {share:g}: every training slice holds a nodule",
            "leave it out, or select slices without with select-slices --negatives",
        )
    return [groups[key] for key in sorted(groups)], negatives, share


def classes_of(truth: CocoTruth) -> list[ClassKey | None]:
    """The class that each image counts for; None for one without a nodule."""
    nodules = [one for one in truth.annotations if not one.iscrowd]
    categories = {one.category_id for one in nodules}
    by_malignancy = len(categories) == 1 and all(one.attributes.get("malignant") is not None for one in nodules)
    keys = [
        {
            (one.category_id, bool(one.attributes["malignant"]) if by_malignancy else False)
            for one in truth.annotations_of[image.id]
            if not one.iscrowd
        }
        for image in truth.images
    ]
    frequency = Counter(key for some in keys for key in some)
    return [min(some, key=lambda key: (frequency[key], key), default=None) for some in keys]


def told_classes(truth: CocoTruth) -> str:
    """The classes that a balanced run balances, with their numbers of slices, for people."""
    counts = Counter(one for one in classes_of(truth) if one is not None)
    return ", ".join(
        f"{truth.categories[category]}{' (malignant)' if malignant else ''} {count}"
        for (category, malignant), count in sorted(counts.items())
    )
