"""The sheet of training samples: what is on it is what the run would see, boxes where the nodules are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lungct.cli.app import command
from lungct.cli.contract import run_app
from lungct.errors import OutputExists, UsageError
from lungct.report.panel import DETECTION
from lungct.report.sample_sheet import GAP_PX, SIDE_PX, TITLE_PX, write_sample_sheet
from lungct.training.show import show_augmentations
from tests.training.disks import write_disks
from tests.training.test_train import _options


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    write_disks(tmp_path / "slices", train=5, val=1, size=72)
    return tmp_path / "slices"


def test_a_box_is_drawn_round_its_pixels(tmp_path: Path) -> None:
    image = np.zeros((50, 100), np.float32)
    image[20:30, 40:60] = 1
    boxes = np.array([[40.0, 20.0, 60.0, 30.0]])
    some, words = [boxes, boxes[:0], boxes], ["1", "2", "3"]
    write_sample_sheet(tmp_path / "a.png", [image] * 3, some, words, title="t", columns=2, overwrite=False)
    with Image.open(tmp_path / "a.png") as opened:
        sheet = np.asarray(opened.convert("RGB"))
    assert sheet.shape[:2] == (2 * (SIDE_PX + GAP_PX) + TITLE_PX, 2 * (SIDE_PX + GAP_PX) + GAP_PX)
    first = sheet[TITLE_PX : TITLE_PX + 150, GAP_PX : GAP_PX + SIDE_PX]
    rows, columns = np.nonzero((first == DETECTION).all(-1))
    assert (rows.min(), rows.max()) == pytest.approx((58, 91), abs=2)
    assert (columns.min(), columns.max()) == pytest.approx((118, 181), abs=2)
    second = sheet[TITLE_PX : TITLE_PX + 150, GAP_PX + SIDE_PX + GAP_PX :]
    assert not (second == DETECTION).all(-1).any()
    with pytest.raises(OutputExists):
        write_sample_sheet(tmp_path / "a.png", [image], [boxes], ["1"], title="t", columns=1, overwrite=False)


def test_the_sheet_repeats_to_the_byte_and_goes_through_epochs(slices: Path, tmp_path: Path) -> None:
    options = _options(augment="strong", batch=2)
    facts = show_augmentations(tmp_path / "a.png", slices, options, samples=14)
    show_augmentations(tmp_path / "b.png", slices, options, samples=14)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert facts["samples"] == 14
    assert facts["boxes"] > 3


def test_a_mosaic_is_asked_for(slices: Path, tmp_path: Path) -> None:
    for chance in (0.0, 1.0):
        show_augmentations(tmp_path / f"{chance:g}.png", slices, _options(mosaic=chance), samples=4)
    assert (tmp_path / "0.png").read_bytes() != (tmp_path / "1.png").read_bytes()
    with pytest.raises(UsageError, match="--mosaic"):
        _options(mosaic=1.1)


def test_the_command_draws_and_ends(slices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["train", str(slices), str(tmp_path / "run"), "--preset", "tiny", "--augment", "system1-nlst", "-q"]
    assert run_app(command(), [*line, "--show-augmentations", str(tmp_path / "sheet.png")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size[0] > 1000
    assert not (tmp_path / "run").exists()
