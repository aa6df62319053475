"""Tables, JSON and XML that are broken or lie: the command that reads them says so in one line and writes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lungct.io.boxes_csv import DLCS_COLUMNS
from lungct.io.nifti import write_nifti
from lungct.io.npz import write_slice
from lungct.types import Grid, Volume
from tests.hostile.trial import assert_refused, run

HEADER = ",".join(DLCS_COLUMNS)
ROW = "case_1,case_1_01,case_1.nii.gz,0,0,12,3,3,4,1,train"
GRID = Grid((6, 8, 10), (2.0, 1.0, 1.0), (-5.0, -4.0, 10.0))


def _dlcs(folder: Path, table: bytes | str) -> Path:
    folder.mkdir()
    hu = np.random.default_rng(0).integers(-1000, 400, GRID.shape_zyx).astype(np.int16)
    write_nifti(folder / "case_1.nii.gz", Volume(hu, GRID))
    data = table.encode() if isinstance(table, str) else table
    (folder / "DLCSD24_Annotations.csv").write_bytes(data)
    return folder


def _with(column: str, value: str) -> str:
    cells = dict(zip(DLCS_COLUMNS, ROW.split(","), strict=True)) | {column: value}
    return f"{HEADER}\n{','.join(cells.values())}\n"


NUMBERS = ("coordX", "coordY", "coordZ", "w", "h", "d")
TABLES: dict[str, bytes | str] = {
    **{f"without column {name}": HEADER.replace(name, "other") + f"\n{ROW}\n" for name in DLCS_COLUMNS},
    **{f"{name} is {value!r}": _with(name, value) for name in NUMBERS for value in ("", "abc", "nan", "inf", "1 2")},
    **{f"{name} is {value}, too large": _with(name, value) for name in NUMBERS for value in ("1e300", "-1e10")},
    **{f"{name} is {value}": _with(name, value) for name in ("w", "h", "d") for value in ("0", "-3")},
    "Malignant_lbl is a word": _with("Malignant_lbl", "maybe"),
    "Malignant_lbl is not a number": _with("Malignant_lbl", "nan"),
    "Malignant_lbl is 7": _with("Malignant_lbl", "7"),
    "nodule without id": _with("nodule_id", ""),
    "patient without id": _with("patient-id", ""),
    "file is not there": _with("ct_nifti_file", "case_9.nii.gz"),
    "no file named": _with("ct_nifti_file", ""),
    "semicolons": (HEADER + "\n" + ROW + "\n").replace(",", ";"),
    "tabs": (HEADER + "\n" + ROW + "\n").replace(",", "\t"),
    "bars": (HEADER + "\n" + ROW + "\n").replace(",", "|"),
    "decimal commas": f"{HEADER}\n" + ROW.replace(",0,0,12,", ',"0,5","0,5","12,5",') + "\n",
    "one nodule twice": f"{HEADER}\n{ROW}\n{ROW}\n",
    "two patients in one scan": f"{HEADER}\n{ROW}\n{ROW.replace('case_1,case_1_01', 'case_2,case_1_02')}\n",
    "two splits of one scan": f"{HEADER}\n{ROW}\n{ROW.replace('_01', '_02').replace('train', 'val')}\n",
    "row cut short": f"{HEADER}\n{ROW[:30]}\n",
    "row too long": f"{HEADER}\n{ROW},1,2,3,4\n",
    "quote never closed": f'{HEADER}\n"{ROW}\n',
    "empty": "",
    "blank lines": "\n\n\n",
    "zero bytes inside": f"{HEADER}\n{ROW}\n".replace("12", "1\0"),
    "UTF-16": f"{HEADER}\n{ROW}\n".encode("utf-16"),
    "latin-1": f"{HEADER}\n{ROW}\n".replace("train", "trän").encode("latin-1"),
    "spreadsheet": b"PK\x03\x04" + bytes(200),
    "noise": np.random.default_rng(0).bytes(500),
    "column twice": f"{HEADER},coordX\n{ROW},5\n",
}


@pytest.mark.parametrize("name", list(TABLES))
def test_broken_nodule_table(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    raw = _dlcs(tmp_path / "raw", TABLES[name])
    assert_refused(run(capfd, "preprocess", raw, tmp_path / "out"), 3, tmp_path / "out")


GOOD_TABLES = {
    "as it is": f"{HEADER}\n{ROW}\n",
    "byte order mark": f"\ufeff{HEADER}\n{ROW}\n",
    "Windows line ends": f"{HEADER}\r\n{ROW}\r\n",
    "no line end": f"{HEADER}\n{ROW}",
    "spaces around": f"{HEADER}\n{ROW.replace(',', ' , ')}\n",
    "quoted": f"{HEADER}\n" + ",".join(f'"{cell}"' for cell in ROW.split(",")) + "\n",
    "more columns": f"{HEADER},reader\n{ROW},A\n",
    "header alone": f"{HEADER}\n",
    "blank line at the end": f"{HEADER}\n{ROW}\n\n",
}


@pytest.mark.parametrize("name", list(GOOD_TABLES))
def test_unusual_but_sound_table(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    raw = _dlcs(tmp_path / "raw", GOOD_TABLES[name])
    outcome = run(capfd, "preprocess", raw, tmp_path / "out")
    assert outcome.code == 0, outcome.stderr
    assert len((tmp_path / "out" / "nodules.csv").read_text().splitlines()) == 1 + (name != "header alone")


VOC = """<annotation><size><width>{width}</width><height>{height}</height></size>
<object><name>nodule</name><bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>
</bndbox></object></annotation>"""
BOX: dict[str, Any] = {"width": 32, "height": 24, "xmin": 4, "ymin": 5, "xmax": 10, "ymax": 12}
BOMB = (
    '<?xml version="1.0"?><!DOCTYPE z [<!ENTITY a0 "ha">'
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    + "]><annotation><object><name>&a9;</name></object></annotation>"
)
XMLS = {
    "cut short": VOC.format(**BOX)[:90],
    "empty": "",
    "no XML": "xmin,ymin\n1,2\n",
    "xmin is a word": VOC.format(**{**BOX, "xmin": "left"}),
    "xmin is not a number": VOC.format(**{**BOX, "xmin": "nan"}),
    "xmax is infinite": VOC.format(**{**BOX, "xmax": "inf"}),
    "corners swapped": VOC.format(**{**BOX, "xmin": 10, "xmax": 4}),
    "no area": VOC.format(**{**BOX, "xmax": 3}),
    "no corner": VOC.format(**BOX).replace("<ymin>5</ymin>", ""),
    "other size": VOC.format(**{**BOX, "width": 500}),
    "size is a word": VOC.format(**{**BOX, "width": "wide"}),
    "entities within entities": BOMB,
    "unknown entity": VOC.format(**BOX).replace("nodule", "&nbsp;"),
    "foreign entity": '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]>'
    + VOC.format(**BOX).replace("nodule", "&x;"),
}


def _voc(folder: Path, xml: str) -> Path:
    for name in ("images", "annotations"):
        (folder / name).mkdir(parents=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 32)).astype(np.uint8)).save(
        folder / "images" / "image_1.png"
    )
    (folder / "annotations" / "image_1.xml").write_text(xml)
    return folder


@pytest.mark.parametrize("name", list(XMLS))
def test_broken_voc_xml(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    raw = _voc(tmp_path / "raw", XMLS[name])
    assert_refused(run(capfd, "preprocess", raw, tmp_path / "out"), 3, tmp_path / "out")


def test_the_xml_that_they_spoil_is_good(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    raw = _voc(tmp_path / "raw", VOC.format(**BOX))
    assert run(capfd, "preprocess", raw, tmp_path / "out").code == 0


Change = Callable[[dict[str, Any]], object]


def _truth() -> dict[str, Any]:
    return {
        "categories": [{"id": 1, "name": "nodule"}],
        "images": [{"id": 1, "file_name": "images/a.npz", "width": 16, "height": 12}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 3, 4, 5], "area": 20, "iscrowd": 0}],
    }


TRUTHS: dict[str, Change] = {
    "images missing": lambda t: t.pop("images"),
    "images is a number": lambda t: t.update(images=3),
    "images of words": lambda t: t.update(images=["a", "b"]),
    "annotations is null": lambda t: t.update(annotations=None),
    "annotations of lists": lambda t: t.update(annotations=[[1, 2]]),
    "categories of words": lambda t: t.update(categories=["nodule"]),
    "no category": lambda t: t.update(categories=[]),
    "image without id": lambda t: t["images"][0].pop("id"),
    "image id is a list": lambda t: t["images"][0].update(id=[1]),
    "image without file_name": lambda t: t["images"][0].pop("file_name"),
    "image without width": lambda t: t["images"][0].pop("width"),
    "width is a word": lambda t: t["images"][0].update(width="wide"),
    "width is zero": lambda t: t["images"][0].update(width=0),
    "height is negative": lambda t: t["images"][0].update(height=-5),
    "image twice": lambda t: t["images"].append(t["images"][0]),
    "annotation of no image": lambda t: t["annotations"][0].update(image_id=9),
    "annotation of a string id": lambda t: t["annotations"][0].update(image_id="1"),
    "unknown category": lambda t: t["annotations"][0].update(category_id=5),
    "bbox of three": lambda t: t["annotations"][0].update(bbox=[1, 2, 3]),
    "bbox of five": lambda t: t["annotations"][0].update(bbox=[1, 2, 3, 4, 5]),
    "bbox of words": lambda t: t["annotations"][0].update(bbox=["a", "b", "c", "d"]),
    "bbox is null": lambda t: t["annotations"][0].update(bbox=None),
    "bbox not a number": lambda t: t["annotations"][0].update(bbox=[float("nan"), 2, 3, 4]),
    "bbox negative": lambda t: t["annotations"][0].update(bbox=[1, 2, -3, 4]),
    "facts are a list": lambda t: t["images"][0].update(lungct=[1]),
    "attributes are a word": lambda t: t["annotations"][0].update(attributes="big"),
    "info is a word": lambda t: t.update(info="mine"),
}


@pytest.mark.parametrize("name", list(TRUTHS))
def test_broken_coco_truth(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    truth = _truth()
    TRUTHS[name](truth)
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text("[]")
    outcome = run(capfd, "evaluate", tmp_path / "truth.json", tmp_path / "found.json", tmp_path / "out")
    assert_refused(outcome, 3, tmp_path / "out")


def _found() -> list[dict[str, Any]]:
    return [{"image_id": 1, "category_id": 1, "bbox": [2, 3, 4, 5], "score": 0.5}]


DETECTIONS: dict[str, Callable[[dict[str, Any]], object]] = {
    "score above one": lambda r: r.update(score=1.5),
    "score negative": lambda r: r.update(score=-0.1),
    "score not a number": lambda r: r.update(score=float("nan")),
    "score is a word": lambda r: r.update(score="high"),
    "score missing": lambda r: r.pop("score"),
    "image unknown": lambda r: r.update(image_id=77),
    "image id is a string": lambda r: r.update(image_id="1"),
    "image id is a list": lambda r: r.update(image_id=[1]),
    "category unknown": lambda r: r.update(category_id=0),
    "bbox of three": lambda r: r.update(bbox=[1, 2, 3]),
    "bbox missing": lambda r: r.pop("bbox"),
    "bbox of corners": lambda r: r.update(bbox=[10, 8, 15, 11]),
    "bbox not a number": lambda r: r.update(bbox=[float("nan"), 1, 2, 3]),
}


@pytest.mark.parametrize("name", list(DETECTIONS))
def test_broken_detections(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = _found()
    DETECTIONS[name](found[0])
    (tmp_path / "truth.json").write_text(json.dumps(_truth()))
    (tmp_path / "found.json").write_text(json.dumps(found))
    outcome = run(capfd, "evaluate", tmp_path / "truth.json", tmp_path / "found.json", tmp_path / "out")
    assert_refused(outcome, 3, tmp_path / "out")


TEXTS = ["", "{", "null", "3", '"text"', "[1, 2]", "[[]]", '{"images": []', "\ufeff", "[" * 100_000, "\x00" * 50]


@pytest.mark.parametrize("which", ["truth", "found"])
@pytest.mark.parametrize("number", range(len(TEXTS)))
def test_json_that_is_none(which: str, number: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "truth.json").write_text(json.dumps(_truth()))
    (tmp_path / "found.json").write_text(json.dumps(_found()))
    (tmp_path / f"{which}.json").write_text(TEXTS[number])
    outcome = run(capfd, "evaluate", tmp_path / "truth.json", tmp_path / "found.json", tmp_path / "out")
    assert_refused(outcome, 3, tmp_path / "out")


def _slices(folder: Path) -> Path:
    hu = np.random.default_rng(0).integers(-1000, 400, (3, 12, 16)).astype(np.int16)
    write_slice(folder / "images" / "a.npz", hu)
    for split in ("train", "val", "test"):
        (folder / f"{split}.json").write_text(json.dumps(_truth()))
    return folder


def _npz(path: Path, **arrays: Any) -> None:
    np.savez(path, **arrays)


SLICES: dict[str, Callable[[Path], object]] = {
    "missing": lambda p: p.unlink(),
    "empty": lambda p: p.write_bytes(b""),
    "cut short": lambda p: p.write_bytes(p.read_bytes()[:200]),
    "text": lambda p: p.write_text("image"),
    "pickle": lambda p: _npz(p, image_hu=np.array([{"a": 1}], dtype=object)),
    "other array": lambda p: _npz(p, pixels=np.zeros((3, 12, 16), np.int16)),
    "float": lambda p: _npz(p, image_hu=np.zeros((3, 12, 16), np.float32)),
    "flat": lambda p: _npz(p, image_hu=np.zeros((12, 16), np.int16)),
    "other size": lambda p: _npz(p, image_hu=np.zeros((3, 20, 16), np.int16)),
    "other channels": lambda p: _npz(p, image_hu=np.zeros((4, 12, 16), np.int16)),
    "folder": lambda p: (p.unlink(), p.mkdir()),
    "link to itself": lambda p: (p.unlink(), p.symlink_to(p)),
}


@pytest.mark.parametrize("name", list(SLICES))
def test_broken_slice_file(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    slices = _slices(tmp_path / "slices")
    if name == "other channels":
        _npz(slices / "images" / "b.npz", image_hu=np.zeros((3, 12, 16), np.int16))
        truth = _truth()
        truth["images"].append({"id": 2, "file_name": "images/b.npz", "width": 16, "height": 12})
        (slices / "train.json").write_text(json.dumps(truth))
    SLICES[name](slices / "images" / "a.npz")
    outcome = run(capfd, "train", slices, tmp_path / "out", "--preset", "tiny", "--epochs", "1", "--threads", "1")
    assert_refused(outcome, 3, tmp_path / "out")
