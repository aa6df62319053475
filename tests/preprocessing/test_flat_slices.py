"""2D images as slices: repeated for context, ids counted from one, options of scans refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lungct.cli import select_slices as verb
from lungct.errors import UsageError
from lungct.io.coco import CocoImage, read_truth
from lungct.io.npz import read_slice
from lungct.preprocessing.preprocess import preprocess
from lungct.preprocessing.scan_slices import SelectOptions
from lungct.preprocessing.select_slices import select_slices

from .tiny_voc import write_voc

SPLITS = ("train", "val", "test")


def images_of(folder: Path) -> list[CocoImage]:
    return [image for split in SPLITS for image in read_truth(folder / f"{split}.json").images]


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    write_voc(tmp_path / "voc", series=6)
    preprocess(tmp_path / "voc", tmp_path / "out2d")
    return tmp_path / "out2d"


def test_flat_slices_repeat_themselves_and_ids_count_from_one(flat: Path, tmp_path: Path) -> None:
    images = images_of_flat(flat)
    gone = images[0].case_id
    (tmp_path / "out.txt").write_text(f"{gone}\n{Path(images[5].file_name).stem}\n")
    select_slices(flat, tmp_path / "s", SelectOptions(context=5, png="lung", exclude=tmp_path / "out.txt"))
    found = sorted(images_of(tmp_path / "s"), key=lambda one: int(one.id))
    assert [one.file_name for one in found] == [
        one.file_name for n, one in enumerate(images) if one.case_id != gone and n != 5
    ]
    assert [one.id for one in found] == list(range(1, 10))
    notes = [note.id for split in SPLITS for note in read_truth(tmp_path / "s" / f"{split}.json").annotations]
    assert sorted(notes) == list(range(1, 10))
    for image in found:
        stored = read_slice(tmp_path / "s" / image.file_name)
        assert np.array_equal(stored, np.repeat(read_slice(flat / image.file_name), 5, axis=0))
        assert (tmp_path / "s" / image.file_name).with_suffix(".png").is_file()


def images_of_flat(flat: Path) -> list[CocoImage]:
    return list(read_truth(flat / "slices.json").images)


@pytest.mark.parametrize(
    "given",
    [
        {"method": "all"},
        {"fraction": 0.5},
        {"min_hu": -100.0},
        {"k": 1.0},
        {"window_slices": 3},
        {"negatives": 0},
        {"hard_negatives": Path("x.csv")},
        {"profiles": True},
    ],
)
def test_options_without_bearing_on_2d_images_are_refused(flat: Path, given: dict[str, Any]) -> None:
    flag = "--" + next(iter(given)).replace("_", "-")
    with pytest.raises(UsageError, match=f"no bearing on .*all kept: {flag}$|no bearing on .*all kept: {flag}:"):
        verb.run(flat, flat.with_name("s"), **given)
    assert not flat.with_name("s").exists()


def test_usage_error_of_an_option_without_bearing(flat: Path) -> None:
    found = lungct(f"select-slices {flat} {flat}-s --negatives 0 --method all")
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1
    assert "all kept: --method, --negatives" in found.stderr


def lungct(line: str) -> Any:
    return subprocess.run([sys.executable, "-m", "lungct", *line.split()], capture_output=True, text=True, check=False)


def test_options_of_2d_images_are_taken_and_shards_are_warned_of(flat: Path, tmp_path: Path) -> None:
    found = lungct(f"select-slices {flat} {flat}-s --context 1 --png lung --seed 3")
    assert (found.returncode, found.stderr) == (0, "")
    assert lungct(f"preprocess {tmp_path}/voc {tmp_path}/part --shard 2/3").returncode == 0
    found = lungct(f"select-slices {tmp_path}/part {tmp_path}/part-s")
    assert found.returncode == 0
    assert "is a shard of a run" in found.stderr
