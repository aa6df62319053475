"""Batches: who is in them, how often, in which order, and that an epoch needs nothing of the ones before it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lungct.data.difficulty import difficulties
from lungct.data.pools import SamplingOptions, batches_per_epoch, classes_of, make_batches, told_classes
from lungct.data.sampling import EpochBatches
from lungct.data.streams import turns
from lungct.errors import UsageError
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth

SIZE = 40


def _truth(labels: Sequence[Sequence[int]], categories: int = 3, **attributes: Any) -> CocoTruth:
    """One image for each entry, with a nodule of every category that it lists."""
    images = [CocoImage(number, f"{number}.npz", SIZE, SIZE) for number in range(len(labels))]
    notes = [(number, label) for number, some in enumerate(labels) for label in some]
    annotations = [
        CocoAnnotation(identifier, number, label, (4.0, 4.0, 12.0, 12.0), attributes=attributes)
        for identifier, (number, label) in enumerate(notes)
    ]
    return CocoTruth({label: f"c{label}" for label in range(1, categories + 1)}, images, annotations)


def _air(image: CocoImage) -> NDArray[Any]:
    return np.full((3, SIZE, SIZE), -900, np.int16)


def _batches(truth: CocoTruth, options: SamplingOptions, batch: int = 6, **more: Any) -> EpochBatches:
    return make_batches(truth, options, batch=batch, seed=3, read=_air, **more)


def _images(batches: EpochBatches, epoch: int = 0) -> list[list[int]]:
    batches.epoch = epoch
    return [[one.image for one in batch] for batch in batches]


IMBALANCED = [[1]] * 20 + [[2]] * 5 + [[3], [3, 1]]


def test_an_epoch_sees_every_slice_and_fills_its_last_batch() -> None:
    batches = EpochBatches.shuffled(10, 4, seed=1)
    batches.epoch = 5
    drawn = list(batches)
    assert len(drawn) == len(batches) == 3
    assert [len(one) for one in drawn] == [4, 4, 4]
    assert {one.image for batch in drawn for one in batch} == set(range(10))
    assert {one.epoch for batch in drawn for one in batch} == {5}
    assert _images(batches, 6) != _images(batches, 5)


def test_a_slice_drawn_again_in_an_epoch_is_another_turn() -> None:
    batches = _batches(_truth(IMBALANCED), SamplingOptions("balanced"))
    drawn = [one for batch in batches for one in batch]
    assert len(set(drawn)) == len(drawn)
    assert max(one.turn for one in drawn) > 3


def test_balanced_batches_hold_equal_parts_and_see_the_largest_class_once() -> None:
    drawn = _images(_batches(_truth(IMBALANCED), SamplingOptions("balanced")))
    classes = [1] * 20 + [2] * 5 + [3] * 2
    assert len(drawn) == 10
    assert all(Counter(classes[one] for one in batch) == {1: 2, 2: 2, 3: 2} for batch in drawn)
    seen = Counter(one for batch in drawn for one in batch)
    assert [seen[one] for one in range(20)] == [1] * 20
    assert [seen[one] for one in range(20, 25)] == [4] * 5
    assert [seen[one] for one in (25, 26)] == [10, 10]


def test_a_slice_of_several_classes_counts_for_the_rarest() -> None:
    truth = _truth([[1], [1, 2], [2, 3], [], [1]])
    assert classes_of(truth) == [(1, False), (2, False), (3, False), None, (1, False)]
    assert told_classes(truth) == "c1 2, c2 1, c3 1"


def test_a_single_category_is_balanced_by_malignancy_where_it_is_known() -> None:
    truth = _truth([[1]] * 4, categories=1, malignant=False)
    notes = [CocoAnnotation(one.id, one.image_id, 1, one.box_xyxy_px, attributes={"malignant": one.id == 0})
             for one in truth.annotations]  # fmt: skip
    known = CocoTruth(truth.categories, truth.images, notes)
    assert classes_of(known) == [(1, True), (1, False), (1, False), (1, False)]
    assert told_classes(known) == "c1 3, c1 (malignant) 1"
    assert len(_batches(known, SamplingOptions("balanced"), batch=2)) == 3
    one_unknown = CocoTruth(truth.categories, truth.images, [*notes[:3], _truth([[1]] * 4).annotations[3]])
    assert set(classes_of(one_unknown)) == {(1, False)}


def test_a_single_class_alone_is_seen_once_with_its_share_of_empty_slices() -> None:
    truth = _truth([[1]] * 9 + [[]] * 3, categories=1)
    drawn = _images(_batches(truth, SamplingOptions("balanced"), batch=4))
    assert sorted(one for batch in drawn for one in batch) == list(range(12))
    assert all(sum(one >= 9 for one in batch) == 1 for batch in drawn)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
def test_the_positive_share_holds_in_every_batch(share: float) -> None:
    truth = _truth([[1]] * 5 + [[]] * 15, categories=1)
    drawn = _images(_batches(truth, SamplingOptions("shuffle", positive_share=share), batch=5))
    assert len(drawn) == 4
    counts = [sum(one < 5 for one in batch) for batch in drawn]
    assert all(abs(count - 5 * share) < 1 for count in counts)
    assert sum(counts) == pytest.approx(20 * share)


def test_a_positive_share_of_one_leaves_empty_slices_out_and_less_needs_some() -> None:
    truth = _truth([[1]] * 5 + [[]] * 15, categories=1)
    drawn = _images(_batches(truth, SamplingOptions("shuffle", positive_share=1.0)))
    assert {one for batch in drawn for one in batch} == set(range(5))
    with pytest.raises(UsageError, match="every training slice holds a nodule"):
        _batches(_truth([[1]] * 5), SamplingOptions("shuffle", positive_share=0.5))


def _graded(count: int = 12, empty: int = 0) -> tuple[CocoTruth, Any]:
    """Nodules that grow and brighten from image to image, so the last is the easiest."""
    images = [CocoImage(number, f"{number}.npz", SIZE, SIZE) for number in range(count + empty)]
    notes = [
        CocoAnnotation(number, number, 1 + number % 2, (4.0, 4.0, 8.0 + number, 8.0 + number))
        for number in range(count)
    ]

    def read(image: CocoImage) -> NDArray[Any]:
        return np.full((1, SIZE, SIZE), -900 + 60 * int(image.id), np.int16)

    return CocoTruth({1: "a", 2: "b"}, images, notes), read


def test_faint_and_small_nodules_are_difficult() -> None:
    truth, read = _graded(empty=2)
    found = difficulties(truth, read)
    assert (np.diff(found[:12]) <= 0).all()
    assert found[0] == 1
    assert found[11] == 0
    assert found[12:].tolist() == [0, 0]


def test_difficulty_is_half_of_what_is_missing_in_mass_and_area() -> None:
    truth, read = _graded(count=3)
    areas, mass = np.array([16.0, 25.0, 36.0]), (np.array([-900, -840, -780]) + 1000) / 1500

    def norm(values: NDArray[Any]) -> NDArray[Any]:
        low, high = np.percentile(values, (5, 95))
        return np.clip((values - low) / (high - low), 0, 1)

    assert difficulties(truth, read) == pytest.approx(1 - 0.5 * (norm(mass) + norm(areas)))


def test_the_hardest_nodule_of_a_slice_is_its_difficulty() -> None:
    images = [CocoImage(1, "1.npz", SIZE, SIZE), CocoImage(2, "2.npz", SIZE, SIZE)]
    boxes = [(1, (0.0, 0.0, 30.0, 30.0)), (1, (32.0, 32.0, 36.0, 36.0)), (2, (0.0, 0.0, 30.0, 30.0))]
    truth = CocoTruth({1: "a"}, images, [CocoAnnotation(n, i, 1, box) for n, (i, box) in enumerate(boxes)])
    hard, easy = difficulties(truth, _air)
    assert hard > easy


@pytest.mark.parametrize("name", ["curriculum", "curriculum-balanced"])
def test_a_curriculum_advances_to_every_slice(name: str) -> None:
    truth, read = _graded()
    options = SamplingOptions(name, epochs=6)
    batches = make_batches(truth, options, batch=4, seed=0, read=read)
    difficulty, let_in = difficulties(truth, read), []
    for epoch in range(6):
        drawn = {one for batch in _images(batches, epoch) for one in batch}
        allowed = max(options.limit(epoch), float(difficulty.min()))
        assert all(difficulty[one] <= max(allowed, difficulty[one % 2 :: 2].min()) for one in drawn)
        let_in.append(batches.facts(epoch)["eligible"])
    assert let_in[0] < 0.6
    assert let_in == sorted(let_in)
    assert let_in[-1] == 1
    assert [options.limit(epoch) for epoch in (0, 3)] == pytest.approx(
        [0.4, 0.9] if name == "curriculum" else [0.35, 0.85]
    )


def test_a_curriculum_keeps_the_share_of_empty_slices_and_draws_with_replacement() -> None:
    truth, read = _graded(count=12, empty=6)
    batches = make_batches(truth, SamplingOptions("curriculum"), batch=6, seed=0, read=read)
    drawn = _images(batches)
    assert all(sum(one >= 12 for one in batch) == 2 for batch in drawn)
    assert max(Counter(one for batch in drawn for one in batch).values()) > 1


def test_classes_without_an_easy_slice_start_with_their_easiest() -> None:
    truth, read = _graded()
    swapped = [CocoAnnotation(one.id, one.image_id, 2 if int(one.image_id) < 3 else 1, one.box_xyxy_px)
               for one in truth.annotations]  # fmt: skip
    batches = make_batches(
        CocoTruth(truth.categories, truth.images, swapped),
        SamplingOptions("curriculum-balanced", epochs=20), batch=4, seed=0, read=read,
    )  # fmt: skip
    drawn = {one for batch in _images(batches) for one in batch}
    assert drawn & {0, 1, 2} == {2}


@pytest.mark.parametrize("name", ["shuffle", "balanced", "curriculum", "curriculum-balanced"])
def test_an_epoch_needs_nothing_of_the_ones_before(name: str) -> None:
    truth, read = _graded()
    options = SamplingOptions(name, epochs=5)
    whole = make_batches(truth, options, batch=4, seed=1, read=read)
    through = [_images(whole, epoch) for epoch in range(5)]
    fresh = make_batches(truth, options, batch=4, seed=1, read=read)
    assert _images(fresh, 3) == through[3]
    assert all(one != other for one, other in itertools.pairwise(through))
    assert len(whole) == batches_per_epoch(truth, options, 4, hard=False) == len(through[0])


def test_turns_keep_to_their_shares_at_every_length() -> None:
    shares = np.array([0.5, 0.3, 0.2])
    found = turns(shares.tolist(), 200)
    counts = np.cumsum(found[:, None] == np.arange(3), axis=0)
    assert (np.abs(counts - shares * np.arange(1, 201)[:, None]) <= 1).all()


def test_balancing_needs_no_image_on_disk(tmp_path: Path) -> None:
    def never(image: CocoImage) -> NDArray[Any]:
        raise AssertionError

    make_batches(_truth(IMBALANCED), SamplingOptions("balanced"), batch=4, seed=0, read=never)
