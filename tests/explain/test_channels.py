"""Shapley values of the slices of a stack: the axioms, and networks whose answer is known."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lungct.errors import UsageError
from lungct.explain.base import Subject
from lungct.explain.channels import channel_values, offsets, shapley
from lungct.explain.scorers import Scores


def by_orders(worth: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """The definition by the orders in which players may come: the mean of what each adds."""
    players = int(math.log2(len(worth)))
    total = np.zeros((worth.shape[1], players))
    for order in itertools.permutations(range(players)):
        here = 0
        for player in order:
            total[:, player] += worth[here | 1 << player] - worth[here]
            here |= 1 << player
    return total / math.factorial(players)


@pytest.mark.parametrize("players", [1, 2, 3, 4, 5])
def test_values_are_means_over_all_orders_and_add_up(players: int) -> None:
    worth = np.random.default_rng(players).normal(size=(2**players, 3))
    values = shapley(worth)
    np.testing.assert_allclose(values, by_orders(worth), atol=1e-12)
    np.testing.assert_allclose(values.sum(axis=1), worth[-1] - worth[0], atol=1e-12)


def scored_by(subject: Subject, score: object) -> Subject:
    def scorer(batch: Tensor) -> Scores:
        found = score(batch)  # type: ignore[operator]
        return Scores(found, torch.zeros_like(found, dtype=torch.bool))

    return dataclasses.replace(subject, scorer=scorer)


def test_a_score_that_reads_one_slice_gives_all_to_it(subject: Subject) -> None:
    means = subject.image.mean(dim=(1, 2))
    found = channel_values(scored_by(subject, lambda batch: batch[:, 1:2].mean(dim=(2, 3)).repeat(1, 2)), "zero")
    np.testing.assert_allclose(found.shapley, [[0, float(means[1]), 0]] * 2, atol=1e-6)


def test_interacting_slices_share_what_they_bring_together(subject: Subject) -> None:
    def product(batch: Tensor) -> Tensor:
        means = batch.mean(dim=(2, 3))
        return (means[:, :1] * means[:, 2:]).repeat(1, 2)

    found = channel_values(scored_by(subject, product), "zero")
    np.testing.assert_allclose(found.shapley[:, 0], found.shapley[:, 2], rtol=1e-5)
    np.testing.assert_allclose(found.shapley[:, 1], 0, atol=1e-7)


@pytest.mark.parametrize("baseline", ["zero", "mean"])
def test_values_of_a_detector_add_up_to_what_the_image_brings(subject: Subject, baseline: str) -> None:
    found = channel_values(subject, baseline, batch=3)
    np.testing.assert_allclose(found.shapley.sum(axis=1), found.everything - found.none, atol=1e-9)
    np.testing.assert_allclose(found.everything, subject.scorer(subject.image[None]).score[0].cpu(), atol=1e-5)
    assert np.abs(found.shapley).max() > 1e-4


def test_offsets_and_too_many_channels(subject: Subject) -> None:
    assert offsets(3) == [-1, 0, 1]
    deep = dataclasses.replace(subject, image=subject.image[:1].repeat(11, 1, 1))
    with pytest.raises(UsageError, match="11 channels"):
        channel_values(deep, "zero")
