"""Which false positives and missed boxes are shown, in which order, and the sheets themselves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lungct.cli import evaluate as verb
from lungct.evaluation import froc, gallery
from lungct.evaluation.pairs import pair_up
from lungct.io.coco import read_detections, read_truth
from lungct.io.npz import write_slice
from lungct.report.case_sheet import GAP_PX, PER_ROW, SIDE_PX


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two slices: a box found at .9, one hit at .3 alone, one that nothing touches; false positives at .8 and .2."""
    boxes = [(1, [10, 10, 10, 10]), (1, [60, 10, 20, 20]), (2, [30, 70, 30, 30])]
    truth = {
        "images": [
            {"id": k, "file_name": f"images/{k}.npz", "width": 120, "height": 120, "lungct": {"case_id": f"c{k}"}}
            for k in (1, 2)
        ],
        "annotations": [
            {"id": k, "image_id": image, "category_id": 1, "bbox": box, "attributes": {"diameter_mm": box[2]}}
            for k, (image, box) in enumerate(boxes, 1)
        ],
        "categories": [{"id": 1, "name": "nodule"}],
    }
    marks = [(1, boxes[0][1], 0.9), (1, boxes[1][1], 0.3), (1, [10, 70, 9, 9], 0.2), (2, [90, 20, 9, 9], 0.8)]
    rows = [{"image_id": image, "category_id": 1, "bbox": box, "score": score} for image, box, score in marks]
    (tmp_path / "images").mkdir()
    for k in (1, 2):
        write_slice(tmp_path / f"images/{k}.npz", np.full((3, 120, 120), -700, dtype=np.int16))
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps(rows))
    return tmp_path / "truth.json", tmp_path / "found.json"


def test_order_and_facts(pair: tuple[Path, Path]) -> None:
    truth = read_truth(pair[0])
    pairs = pair_up(truth, read_detections(pair[1], truth, np.float64))
    finds = froc.find(pairs)
    assert pairs.score[gallery.false_positives(pairs, finds)].tolist() == [0.8, 0.2]
    unfound = gallery.missed(pairs, finds, 0.5)
    assert [truth.annotations[place].id for place in unfound] == [3, 2], "nothing hits 3, .3 hits 2"
    drawn = gallery.sheets(pairs, finds, truth, score=0.5, count=9)
    cases = {name: one.keywords["cases"] for name, one in drawn.items()}
    assert [case.score for case in cases["false_positives"]] == [0.8, 0.2]
    first, second = cases["missed"]
    assert first.box_xyxy_px is None
    assert (second.score, second.iou, second.truth.id) == (0.3, 1, 2)
    assert len(gallery.sheets(pairs, finds, truth, score=0.5, count=1)["missed"].keywords["cases"]) == 1


def test_sheets_are_written_where_the_slices_are(pair: tuple[Path, Path], tmp_path: Path) -> None:
    verb.run(*pair, tmp_path / "out", bootstrap=0, gallery=9)
    truth = read_truth(pair[0])
    pairs = pair_up(truth, read_detections(pair[1], truth, np.float64))
    finds = froc.find(pairs)
    for name, draw in gallery.sheets(pairs, finds, truth, score=0.5, count=9).items():
        draw(tmp_path / name)
        assert (tmp_path / f"{name}.png").read_bytes() == (tmp_path / f"out/{name}.png").read_bytes()
    with Image.open(tmp_path / "out/missed.png") as sheet:
        assert sheet.width == 3 * (SIDE_PX + GAP_PX) + GAP_PX < PER_ROW * SIDE_PX
        first = np.asarray(sheet.convert("RGB"))[44 : 44 + SIDE_PX, GAP_PX : GAP_PX + SIDE_PX]
    assert len(np.unique(first.reshape(-1, 3), axis=0)) > 2, "grey lung, and a dashed box on it"
    assert gallery.sheets(pairs, finds, truth, score=0.5, count=0) == {}
    (tmp_path / "images/2.npz").unlink()
    assert gallery.sheets(pairs, finds, truth, score=0.5, count=9) == {}
