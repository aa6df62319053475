"""False positives of an earlier run: which they are, how often they come again, and files that are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lungct.data.augmentation import NONE
from lungct.data.dataset import TrainingSlices
from lungct.data.hard_spots import hard_spots
from lungct.data.pools import SamplingOptions, make_batches
from lungct.data.reader import SliceReader
from lungct.data.view import ViewOptions
from lungct.errors import InputError
from lungct.io.coco import CocoTruth, read_truth
from tests.training.disks import write_disks


@pytest.fixture
def truth(tmp_path: Path) -> CocoTruth:
    write_disks(tmp_path, train=9, val=3, size=96)
    return read_truth(tmp_path / "train.json")


def _row(image: Any, box: tuple[float, float, float, float], score: float) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    return {"image_id": image, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps(rows))
    return path


def _off(truth: CocoTruth, number: int) -> tuple[float, float, float, float]:
    """A 10 px box in the corner that is farthest from the disk of an image."""
    boxes = truth.boxes_of(truth.images[number].id)
    x, y = boxes[0, :2] if len(boxes) else (0, 0)
    left, top = (80.0 if x < 48 else 4.0), (80.0 if y < 48 else 4.0)
    return left, top, left + 10, top + 10


def test_only_wrong_and_sure_detections_are_hard(truth: CocoTruth, tmp_path: Path) -> None:
    hit = tuple(float(one) for one in truth.boxes_of(truth.images[0].id)[0])
    near = (hit[0] + 2, hit[1] + 2, hit[2] + 2, hit[3] + 2)
    rows = [
        _row(truth.images[0].id, hit, 0.9),  # type: ignore[arg-type]
        _row(truth.images[0].id, near, 0.8),
        _row(truth.images[0].id, _off(truth, 0), 0.7),
        _row(truth.images[2].id, _off(truth, 2), 0.3),
        _row(truth.images[1].id, _off(truth, 1), 0.01),
    ]
    found = hard_spots(_write(tmp_path / "d.json", rows), truth)
    assert found.index.tolist() == [0, 2]
    assert found.scores.tolist() == [0.7, 0.3]
    assert found.boxes_xyxy_px[0].tolist() == list(_off(truth, 0))


def test_hard_spots_are_drawn_by_score_and_the_crop_goes_round_them(truth: CocoTruth, tmp_path: Path) -> None:
    rows = [_row(truth.images[number].id, _off(truth, number), score) for number, score in ((0, 0.9), (2, 0.1))]
    hard = hard_spots(_write(tmp_path / "d.json", rows), truth)
    read = SliceReader(truth)
    batches = make_batches(truth, SamplingOptions(hard_share=0.5), batch=4, seed=0, read=read, hard=hard)
    drawn = []
    for batches.epoch in range(40):
        for batch in batches:
            assert sum(one.spot >= 0 for one in batch) == 2
            drawn += [one for one in batch if one.spot >= 0]
    counts = [sum(one.spot == spot for one in drawn) for spot in (0, 1)]
    assert counts[0] / sum(counts) == pytest.approx(0.9, abs=0.06)
    assert {(one.spot, one.image) for one in drawn} == {(0, 0), (1, 2)}
    plain = ViewOptions((-1000.0, 500.0), crop_px=64, augmentation=NONE)
    marked = CocoTruth(truth.categories, truth.images, [], truth.root)
    slices = TrainingSlices(marked, plain, seed=0, in_channels=3, spots_xyxy_px=hard.boxes_xyxy_px, read=read)
    x1, y1, x2, y2 = (int(one) for one in _off(truth, 0))
    read(truth.images[0])[:, y1:y2, x1:x2] = 500
    shown = [slices[one][0] for one in drawn if one.spot == 0][:20]
    assert all((one == 1).any() for one in shown)
    elsewhere = [slices[(epoch, 0)][0] for epoch in range(20)]
    assert not all((one == 1).any() for one in elsewhere)
    assert any(not torch.equal(shown[0], other) for other in shown)


def test_a_file_of_another_split_is_refused(truth: CocoTruth, tmp_path: Path) -> None:
    val = read_truth(tmp_path / "val.json")
    with pytest.raises(InputError, match=r"does not hold.*another split"):
        hard_spots(_write(tmp_path / "d.json", [_row(val.images[0].id, (1, 1, 9, 9), 0.9)]), truth)


def test_ids_that_fit_another_split_as_well_are_refused(truth: CocoTruth, tmp_path: Path) -> None:
    document = json.loads((tmp_path / "val.json").read_text())
    for number, image in enumerate(document["images"], 1):
        image["id"] = number
    (tmp_path / "val.json").write_text(json.dumps({**document, "annotations": []}))
    path = _write(tmp_path / "d.json", [_row(2, _off(truth, 1), 0.9)])
    with pytest.raises(InputError, match=r"ids are those of val\.json too"):
        hard_spots(path, truth)
    _write(path, [_row(2, _off(truth, 1), 0.9), _row(8, _off(truth, 7), 0.9)])
    assert hard_spots(path, truth).index.tolist() == [1, 7]


def test_a_file_without_false_positives_is_named(truth: CocoTruth, tmp_path: Path) -> None:
    hit = tuple(float(one) for one in truth.boxes_of(truth.images[0].id)[0])
    for rows in ([], [_row(truth.images[0].id, hit, 0.9)]):  # type: ignore[arg-type]
        with pytest.raises(InputError, match="no false positive"):
            hard_spots(_write(tmp_path / "d.json", rows), truth)


def test_scores_are_probabilities_of_a_draw(truth: CocoTruth, tmp_path: Path) -> None:
    rows = [_row(truth.images[number].id, _off(truth, number), 0.5) for number in range(9)]
    hard = hard_spots(_write(tmp_path / "d.json", rows), truth)
    assert len(hard.index) == 9
    assert np.isfinite(hard.boxes_xyxy_px).all()
