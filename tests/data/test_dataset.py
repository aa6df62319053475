"""Items depend on (seed, epoch, index) alone, broken slices name themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lungct.data.dataset import TrainingSlices, collate
from lungct.data.reader import SliceReader
from lungct.data.view import ViewOptions
from lungct.errors import InputError
from lungct.io.coco import CocoTruth, read_truth
from tests.training.disks import write_disks

VIEW = ViewOptions((-1000.0, 500.0), 1.0, 64)


@pytest.fixture
def truth(tmp_path: Path) -> CocoTruth:
    write_disks(tmp_path, train=6, val=2, size=80)
    return read_truth(tmp_path / "train.json")


def test_an_item_is_the_same_whenever_it_is_drawn_and_differs_between_epochs(truth: CocoTruth) -> None:
    first = TrainingSlices(truth, VIEW, seed=3, in_channels=3)
    image, target = first[(1, 2)]
    again, same = TrainingSlices(truth, VIEW, seed=3, in_channels=3)[(1, 2)]
    other, _ = first[(2, 2)]
    assert torch.equal(image, again)
    assert torch.equal(target["boxes"], same["boxes"])
    assert image.shape != other.shape or not torch.equal(image, other)


def test_network_labels_count_the_categories_in_order(truth: CocoTruth) -> None:
    renamed = CocoTruth({7: "nodule", 9: "other"}, truth.images, [], truth.root)
    annotations = [type(one)(one.id, one.image_id, 9, one.box_xyxy_px) for one in truth.annotations]
    renamed = CocoTruth(renamed.categories, truth.images, annotations, truth.root)
    dataset = TrainingSlices(renamed, VIEW, seed=0, in_channels=3)
    labels = torch.cat([dataset[(epoch, 0)][1]["labels"] for epoch in range(8)])
    assert set(labels.tolist()) == {2}


def test_a_corrupt_slice_is_named(truth: CocoTruth) -> None:
    path = truth.root / truth.images[1].file_name
    path.write_bytes(path.read_bytes()[:200])
    answer = collate(TrainingSlices(truth, VIEW, seed=0, in_channels=3).__getitems__([(0, 0), (0, 1)]))
    assert isinstance(answer, InputError)
    assert str(path) in str(answer)


def test_a_slice_of_another_size_than_its_record_is_refused(truth: CocoTruth) -> None:
    image = truth.images[0]
    wrong = type(image)(image.id, image.file_name, image.width + 1, image.height)
    with pytest.raises(InputError, match="its record says 81 x 80"):
        SliceReader(truth)(wrong)


def test_a_slice_of_other_channels_is_refused(truth: CocoTruth) -> None:
    with pytest.raises(InputError, match="3 channels"):
        TrainingSlices(truth, VIEW, seed=0, in_channels=1)[(0, 0)]


def test_slices_over_the_bound_are_read_again(truth: CocoTruth) -> None:
    reader = SliceReader(truth, cache_bytes=3 * 80 * 80 * 2)
    kept, again = reader(truth.images[0]), reader(truth.images[1])
    assert reader(truth.images[0]) is kept
    assert reader(truth.images[1]) is not again
    assert np.array_equal(reader(truth.images[1]), again)
