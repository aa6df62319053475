"""SS-CAM and IS-CAM against plain loops over their papers' formulas; baselines, approximations."""

from __future__ import annotations

import dataclasses
import weakref

import numpy as np
import pytest
import torch
from torch import Tensor

from lungct.explain.base import MethodOptions, Subject, cost_of, load_method
from lungct.explain.baselines import baseline_of, blurred
from lungct.explain.clusters import clusters_of
from lungct.explain.masked_channels import weights_of
from lungct.explain.scorers import Scores
from lungct.explain.sscam import noise

from .classifier import SmallClassifier, subject_of


@pytest.fixture
def subject() -> Subject:
    network = SmallClassifier()
    image = torch.rand(3, 14, 11, generator=torch.Generator().manual_seed(5))
    return subject_of(network, network.features, network.rest, image, [1, 3])


def loop(subject: Subject, name: str, samples: int, sd: float, baseline: Tensor) -> list[np.ndarray]:
    """One image at a time, as the papers write it."""
    image, maps = subject.image, [np.zeros(subject.image.shape[1:]) for _ in range(2)]
    start = subject.scorer(baseline[None]).score[0]
    for channel, activation in enumerate(subject.activations[0]):
        if activation.max() == activation.min():
            continue
        mask = (activation - activation.min()) / (activation.max() - activation.min())
        total = torch.zeros(2)
        for sample in range(samples):
            pair = [(channel, sample)]
            if name == "iscam":
                changed = baseline + (image - baseline) * mask * (sample + 1) / samples
            elif name == "sscam1":
                changed = baseline + (image - baseline) * (mask + sd * noise(7, pair, mask.shape)[0])
            else:
                changed = baseline + (image - baseline) * mask + sd * noise(7, pair, image.shape)[0]
            total += subject.scorer(changed[None]).score[0]
        for place in range(2):
            rise = max(float(total[place] / samples - start[place]), 0)
            maps[place] += rise * activation.numpy()
    return maps


@pytest.mark.parametrize("batch", [3, 50])
@pytest.mark.parametrize(
    ("name", "preset", "sd"), [("sscam1", "paper", 2.0), ("sscam2", "thesis", 0.1), ("iscam", "paper", 0)]
)
def test_equals_the_papers_loop(subject: Subject, name: str, preset: str, sd: float, batch: int) -> None:
    options = MethodOptions(samples=4, preset=preset, seed=7, batch=batch, baseline="blur")
    explanation = load_method(name)(subject, options)
    for raw, expected in zip(explanation.raw, loop(subject, name, 4, sd, baseline_of(subject, "blur")), strict=True):
        np.testing.assert_allclose(raw, expected, atol=1e-5)
    assert explanation.record["passes"] == cost_of(name, subject, options).images


@pytest.mark.parametrize("name", ["scorecam", "sscam1", "sscam2", "iscam", "drise", "occlusion"])
def test_changed_images_are_held_a_batch_at_a_time(subject: Subject, name: str) -> None:
    """However many there are: those of the pass before may still be there, and no more."""
    held, most, seen = 0, 0, 0

    def noting(batch: Tensor) -> Scores:
        nonlocal held, most, seen
        held, seen = held + len(batch), seen + len(batch)
        most = max(most, held)
        weakref.finalize(batch, gone, len(batch))
        return Scores(batch.mean(dim=(1, 2, 3))[:, None].repeat(1, 2), torch.zeros(len(batch), 2, dtype=torch.bool))

    def gone(count: int) -> None:
        nonlocal held
        held -= count

    options = MethodOptions(samples=9, masks=60, patch_mm=1.4, batch=4)
    load_method(name)(dataclasses.replace(subject, scorer=noting), options)
    assert most <= 8
    assert seen > (8 if name == "scorecam" else 50) - 1


def test_the_presets_are_the_papers_and_the_theses_numbers(subject: Subject) -> None:
    facts = load_method("sscam1")(subject, MethodOptions()).record
    assert (facts["samples"], facts["sd"]) == (35, 2.0)
    assert load_method("sscam2")(subject, MethodOptions(preset="thesis", share=0.5)).record["samples"] == 17
    assert load_method("iscam")(subject, MethodOptions(share=0.01)).record["samples"] == 5


def test_noise_is_of_the_channel_and_the_sample_alone() -> None:
    together = noise(1, [(0, 0), (0, 1), (5, 0)], (4, 3))
    assert torch.equal(noise(1, [(5, 0)], (4, 3))[0], together[2])
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(noise(2, [(0, 0)], (4, 3))[0], together[0])


def test_a_seed_may_be_a_date() -> None:
    assert not torch.equal(noise(20240101, [(3, 1)], (4,)), noise(20240102, [(3, 1)], (4,)))
    clusters_of(torch.rand(5, 3, 3), 2024_01_01_12_00)


def test_weights() -> None:
    score = np.array([0.2, 0.5, 0.4])
    np.testing.assert_allclose(weights_of(score, "linear", 0.3), [0, 0.2, 0.1])
    np.testing.assert_allclose(weights_of(score, "prob", 0.3), score)
    np.testing.assert_allclose(weights_of(score, "softmax", 0.3), np.exp(score) / np.exp(score).sum())
    assert weights_of(score, "softmax").max() / weights_of(score, "softmax").min() < np.e


def test_baselines(subject: Subject) -> None:
    subject = dataclasses.replace(subject, lung_value=0.1)
    assert not baseline_of(subject, "zero").any()
    assert baseline_of(subject, "lung").unique().tolist() == [pytest.approx(0.1)]
    mean = baseline_of(subject, "mean")
    torch.testing.assert_close(mean[:, 0, 0], subject.image.mean(dim=(1, 2)))
    smooth = baseline_of(subject, "blur")
    assert smooth.shape == subject.image.shape
    assert 0 < float(smooth.std()) < float(subject.image.std())
    torch.testing.assert_close(blurred(torch.full((3, 9, 7), 0.4), 2.0), torch.full((3, 9, 7), 0.4))


def test_clusters_score_groups_and_are_another_map(subject: Subject) -> None:
    """Six channels are fewer than the groups, so that each is its own; equal ones share a mask."""
    exact = load_method("scorecam")(subject, MethodOptions())
    same = load_method("scorecam")(subject, MethodOptions(approximate="clusters"))
    np.testing.assert_allclose(same.raw[0], exact.raw[0], atol=1e-4)
    twice = dataclasses.replace(subject, activations={0: subject.activations[0].repeat(8, 1, 1)})
    few = load_method("scorecam")(twice, MethodOptions(approximate="clusters"))
    assert few.record["passes"] <= 2 + 6
    assert load_method("scorecam")(twice, MethodOptions()).record["passes"] > 2 + 6
