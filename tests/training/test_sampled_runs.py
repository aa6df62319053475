"""Runs whose slices are drawn in another way than shuffled: they resume to the byte, advance, and refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lungct.errors import InputError, UsageError
from lungct.io.coco import read_truth
from lungct.training.plan import plan
from lungct.training.train import train
from tests.training.disks import write_disks
from tests.training.test_train import ONE_THREAD, _files, _options, _stop_after_first_epoch

BALANCED: dict[str, Any] = {"sampling": "curriculum-balanced", "epochs": 3, "validate_every": 3}


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    """Disks of two classes; every third slice holds none."""
    folder = tmp_path / "slices"
    write_disks(folder, train=6, val=3, size=72)
    for split in ("train", "val"):
        document = json.loads((folder / f"{split}.json").read_text())
        document["categories"].append({"id": 2, "name": "other"})
        for one in document["annotations"][1::3]:
            one["category_id"] = 2
        (folder / f"{split}.json").write_text(json.dumps(document))
    return folder


@pytest.fixture
def hard(slices: Path) -> Path:
    """A wrong detection on a slice without a disk, and one far off on one with it."""
    path = slices.parent / "hard.json"
    truth = read_truth(slices / "train.json")
    rows = [
        {"image_id": truth.images[number].id, "category_id": 1, "bbox": [*corner, 3, 3], "score": score}
        for number, corner, score in ((2, (30, 30), 0.9), (5, (9, 50), 0.4))
    ]
    path.write_text(json.dumps(rows))
    return path


def test_a_sampled_run_goes_on_to_the_same_bytes(
    slices: Path, hard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {**BALANCED, "hard_negatives": str(hard), "hard_share": 0.4, "positive_share": 0.7}
    train(slices, tmp_path / "whole", _options(**more), execution=ONE_THREAD)
    _stop_after_first_epoch(slices, tmp_path / "cut", monkeypatch, **more)
    train(slices, tmp_path / "cut", _options(**more), execution=ONE_THREAD, resume=True)
    assert _files(tmp_path / "cut") == _files(tmp_path / "whole")
    rows = [json.loads(line) for line in (tmp_path / "cut" / "metrics.ndjson").read_text().splitlines()]
    let_in = [row["eligible"] for row in rows]
    assert let_in == sorted(let_in)
    assert let_in[0] < let_in[-1] == 1
    assert str(tmp_path) not in (tmp_path / "cut" / "config.toml").read_text()


def test_other_hard_negatives_are_another_run(
    slices: Path, hard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stop_after_first_epoch(slices, tmp_path / "run", monkeypatch, hard_negatives=str(hard))
    hard.write_text(hard.read_text().replace("0.4", "0.5"))
    with pytest.raises(UsageError, match="cannot resume: slices was"):
        train(slices, tmp_path / "run", _options(hard_negatives=str(hard)), execution=ONE_THREAD, resume=True)


def test_hard_negatives_that_are_not_there_or_of_another_split_are_refused(
    slices: Path, hard: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no such file"):
        train(slices, tmp_path / "run", _options(hard_negatives=str(tmp_path / "none.json")), execution=ONE_THREAD)
    val = read_truth(slices / "val.json")
    hard.write_text(json.dumps([{"image_id": val.images[0].id, "category_id": 1, "bbox": [1, 1, 5, 5], "score": 1}]))
    with pytest.raises(InputError, match="were the detections made on another split"):
        train(slices, tmp_path / "run", _options(hard_negatives=str(hard)), execution=ONE_THREAD)


def test_a_plan_counts_the_steps_of_a_balanced_epoch(slices: Path, tmp_path: Path) -> None:
    options = _options(sampling="balanced", epochs=2)
    planned = plan(slices, options, ONE_THREAD)["steps"]
    train(slices, tmp_path / "run", options, execution=ONE_THREAD)
    last = json.loads((tmp_path / "run" / "metrics.ndjson").read_text().splitlines()[-1])
    assert planned == last["step"]
    assert planned != plan(slices, _options(epochs=2), ONE_THREAD)["steps"]


def test_shares_out_of_range_are_refused(slices: Path, tmp_path: Path) -> None:
    for more in ({"positive_share": 1.5}, {"hard_share": 0.0}, {"hard_share": 1.0}):
        with pytest.raises(UsageError, match="out of range"):
            _options(**more)
