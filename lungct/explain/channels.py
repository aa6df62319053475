"""How much of a detection's score each slice of its 2.5D stack brings: exact Shapley values over the channels.

The players are the C channels (previous, this and next slice for C = 3). What a coalition S is worth, v(S), is the
score of the fixed detection, or whatever else of it is explained, when every channel outside S shows the baseline;
nothing is retrained. Then

    phi_c = sum over S without c of |S|! (C - |S| - 1)! / C! (v(S + c) - v(S))

is the one division that is efficient (phi adds up to v(all) - v(none)), symmetric, linear, and gives nothing to a
channel that never changes the score. It is computed over all 2^C coalitions, 8 passes for C = 3, without sampling, and
it divides the *score that the maps explain*: it is the same for every method, and may be negative.

Source: Shapley 1953, A value for n-person games; Lundberg & Lee 2017, arXiv:1705.07874; with a fixed baseline as
Sundararajan & Najmi 2020, arXiv:1908.08474 (BShap).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lungct.errors import UsageError
from lungct.explain.base import Subject
from lungct.explain.baselines import baseline_of
from lungct.explain.batches import in_batches, paying_batch
from lungct.types import FloatArray

MOST_CHANNELS = 9


@dataclass(frozen=True, eq=False)
class ChannelValues:
    """What the channels bring.

    Attributes:
        shapley: (D, C) float64, in units of the score.
        none, everything: (D,) the score of the baseline alone, and of the image; their difference is the sum over C.
    """

    shapley: FloatArray
    none: FloatArray
    everything: FloatArray

    def record(self, baseline: str) -> dict[str, Any]:
        """JSON-ready, for the provenance."""
        return {
            "offsets": offsets(self.shapley.shape[1]),
            "shapley": np.round(self.shapley, 6).tolist(),
            "score_none": np.round(self.none, 6).tolist(),
            "score_all": np.round(self.everything, 6).tolist(),
            "baseline": baseline,
        }


def offsets(channels: int) -> list[int]:
    """How many slices each channel is above the one that the boxes are on: -1, 0, 1 for three."""
    return [number - channels // 2 for number in range(channels)]


def channel_values(subject: Subject, baseline: str, batch: int = 0) -> ChannelValues:
    """Shapley values of the channels for every detection of a subject.

    Raises:
        UsageError: a stack of so many channels that the coalitions are too many.
    """
    channels = len(subject.image)
    if channels > MOST_CHANNELS:
        raise UsageError(f"--explain-channels over {channels} channels takes 2^{channels} passes; at most 2^9 are made")
    worth = _worth(subject, baseline_of(subject, baseline), batch or paying_batch(subject.image))
    return ChannelValues(shapley(worth), worth[0], worth[-1])


def _worth(subject: Subject, base: Tensor, batch: int) -> FloatArray:
    """(2^C, D) float64 scores; bit c of the row number says whether channel c is the image's own."""
    channels = len(subject.image)
    shown = (torch.arange(2**channels)[:, None] >> torch.arange(channels)) & 1
    shown = shown.bool().to(subject.image.device)

    def score(part: range) -> Tensor:
        some = shown[part.start : part.stop, :, None, None]
        return subject.scorer(torch.where(some, subject.image[None], base[None])).score.double().cpu()

    with torch.inference_mode():
        scores = [found for _, found in in_batches(len(shown), batch, score)]
    worth: FloatArray = torch.cat(scores).numpy()
    return worth


def shapley(worth: FloatArray) -> FloatArray:
    """(D, C) Shapley values of the players of D games, from the (2^C, D) worth of each coalition.

    Bit c of a row's number says whether player c is in the coalition.
    """
    players = int(worth.shape[0]).bit_length() - 1
    rows = np.arange(2**players)
    size = ((rows[:, None] >> np.arange(players)) & 1).sum(axis=1)
    chance = np.array([factorial(k) * factorial(players - k - 1) / factorial(players) for k in range(players)])
    values = np.zeros((worth.shape[1], players))
    for player in range(players):
        without = rows[(rows >> player) & 1 == 0]
        values[:, player] = chance[size[without]] @ (worth[without | (1 << player)] - worth[without])
    return values
