"""What select-slices does beyond the rule: lists, pictures, context, nodules and slices at the ends of a scan."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lungct.ct.geometry import to_canonical
from lungct.ct.select import Rule
from lungct.errors import InputError
from lungct.io.boxes_csv import read_nodules, write_nodules
from lungct.io.coco import CocoImage, read_truth
from lungct.io.manifest import read_manifest
from lungct.io.nifti import read_nifti
from lungct.io.npz import read_slice
from lungct.preprocessing.cases import Running
from lungct.preprocessing.negatives import Surroundings
from lungct.preprocessing.scan_slices import SelectOptions
from lungct.preprocessing.select_slices import plan_select_slices, select_slices
from lungct.registry import HU_WINDOWS
from lungct.types import Finding, Nodule, Scan, Volume

from .tiny_dlcs import SHAPE, grid_of

SPLITS = ("train", "val", "test")
PLAIN = SelectOptions(Rule("all"), negatives=2)


def images_of(folder: Path) -> list[CocoImage]:
    return [image for split in SPLITS for image in read_truth(folder / f"{split}.json").images]


def slices_of(folder: Path, case: str) -> set[int]:
    return {image.lungct["z_index"] for image in images_of(folder) if image.case_id == case}


def record_of(folder: Path, case: str) -> dict[str, Any]:
    return next(one for one in read_manifest(folder)[1:] if one["case_id"] == case)


def listed(path: Path, *rows: tuple[str, int]) -> Path:
    path.write_text("\n".join(["case_id,z_index", *(f"{case},{z}" for case, z in rows)]) + "\n")
    return path


def test_hard_negatives_are_added_where_no_nodule_is_near(
    dlcs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nodules of CASE_1 reach from slice 11.5 to 18.5 of 2 mm: 6 is 11 mm away, 7 is 9 mm."""
    select_slices(dlcs, tmp_path / "plain", PLAIN)
    hard = listed(tmp_path / "hard.csv", ("CASE_1", 0), ("CASE_1", 6), ("CASE_1", 7), ("CASE_1", 14), ("CASE_4", 29))
    with caplog.at_level(logging.WARNING, "lungct"):
        select_slices(dlcs, tmp_path / "hard", SelectOptions(Rule("all"), negatives=2, hard_negatives=hard))
    assert "hard.csv: 2 of 5 hard negatives left out: within 10 mm of a nodule" in caplog.text
    assert slices_of(tmp_path / "hard", "CASE_1") == slices_of(tmp_path / "plain", "CASE_1") | {0, 6}
    assert slices_of(tmp_path / "hard", "CASE_4") == slices_of(tmp_path / "plain", "CASE_4") | {29}
    assert slices_of(tmp_path / "hard", "CASE_2") == slices_of(tmp_path / "plain", "CASE_2")
    assert [record_of(tmp_path / "hard", f"CASE_{n}")["hard_negatives"] for n in (1, 2, 4)] == [2, 0, 1]
    truths = [read_truth(tmp_path / "hard" / f"{split}.json") for split in SPLITS]
    empty = {(i.case_id, i.lungct["z_index"]) for t in truths for i in t.images if not t.annotations_of[i.id]}
    assert {("CASE_1", 0), ("CASE_1", 6), ("CASE_4", 29)} <= empty


def test_detections_of_predict_serve_as_hard_negatives(dlcs: Path, tmp_path: Path) -> None:
    rows = [{"image_id": "CASE_3/0029", "category_id": 1, "bbox": [1, 1, 5, 5], "score": 0.9}] * 2
    (tmp_path / "detections.json").write_text(json.dumps(rows))
    options = SelectOptions(Rule("all"), negatives=0, hard_negatives=tmp_path / "detections.json")
    select_slices(dlcs, tmp_path / "slices", options)
    assert 29 in slices_of(tmp_path / "slices", "CASE_3")
    assert record_of(tmp_path / "slices", "CASE_3")["negatives"] == 1


def test_hard_negatives_of_unknown_truth_or_elsewhere(
    dlcs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    beyond = listed(tmp_path / "beyond.csv", ("CASE_1", SHAPE[0]))
    with pytest.raises(InputError, match=r"CASE_1: slice 30 is on the list .* the scan has 30.*another spacing"):
        select_slices(dlcs, tmp_path / "a", SelectOptions(hard_negatives=beyond))
    other = listed(tmp_path / "other.csv", ("X", 1), ("Y", 1))
    with pytest.raises(InputError, match="none of its slices is of a case"):
        select_slices(dlcs, tmp_path / "a", SelectOptions(hard_negatives=other))
    with caplog.at_level(logging.WARNING, "lungct"):
        some = listed(tmp_path / "some.csv", ("X", 1), ("CASE_1", 0))
        select_slices(dlcs, tmp_path / "a", SelectOptions(hard_negatives=some))
    assert "1 of its 2 cases are not in" in caplog.text
    (dlcs / "DLCSD24_Annotations.csv").unlink()
    with pytest.raises(InputError, match="no slice to select"):
        select_slices(dlcs, tmp_path / "b", SelectOptions(hard_negatives=listed(tmp_path / "c.csv", ("CASE_1", 0))))


def test_negatives_keep_clear_of_findings() -> None:
    """Slices are 2 mm apart, so slices 3 and 17 are 10 mm from the rim of 6 mm at slice 10, with a mm to spare; one
    that nobody measured reaches 5 mm, over slices 8 to 12."""
    grid = grid_of(0)
    center = tuple(grid.to_world((12.0, 20.0, 10.0)).tolist())
    hu = np.zeros(SHAPE, np.int16)
    far = {}
    for diameter in (6.0, -1.0):
        scan = Scan("c", "c", lambda: Volume(hu, grid), excluded=(Finding(center, diameter),))
        far[diameter] = np.flatnonzero(Surroundings(scan, hu, grid, ()).is_far()).tolist()
    assert far[6.0] == [*range(4), *range(17, SHAPE[0])]
    assert far[-1.0] == [*range(8), *range(13, SHAPE[0])]


def test_exclude_cases_and_slices_moves_nothing_else(
    dlcs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    select_slices(dlcs, tmp_path / "all", PLAIN)
    before = {image.patient_id: image.lungct["split"] for image in images_of(tmp_path / "all")}
    drawn = min(slices_of(tmp_path / "all", "CASE_1") - set(range(10, 21)))
    (tmp_path / "out.txt").write_text(f"CASE_3\nCASE_1/0014\nCASE_1/{drawn:04d}\nCASE_9 # no such case\n")
    options = SelectOptions(Rule("all"), negatives=2, exclude=tmp_path / "out.txt")
    with caplog.at_level(logging.WARNING, "lungct"):
        select_slices(dlcs, tmp_path / "some", options)
    assert "1 of 4 lines name no case" in caplog.text
    assert "line 4" in caplog.text
    assert "CASE_9" not in caplog.text
    after = {image.patient_id: image.lungct["split"] for image in images_of(tmp_path / "some")}
    assert after == {patient: split for patient, split in before.items() if patient != "CASE_3"}
    mine, whole = (slices_of(tmp_path / name, "CASE_1") for name in ("some", "all"))
    assert whole - mine == {14, drawn}
    assert len(mine - whole) == 1, "another negative is drawn in place of the one left out"
    assert not (tmp_path / "some" / "images" / "CASE_1" / "0014.npz").exists()
    plan = plan_select_slices(dlcs, tmp_path / "x", options)
    assert sum(plan["scans"].values()) == sum(plan["patients"].values()) == 3


def test_exclude_mends_a_patient_in_two_splits(dlcs: Path, tmp_path: Path) -> None:
    rows = read_nodules(dlcs / "DLCSD24_Annotations.csv")
    splits = {"CASE_1": "train", "CASE_2": "val", "CASE_3": "train"}
    rows = [Nodule(**{**vars(one), "patient_id": "CASE_1", "split": splits[one.case_id]}) for one in rows]
    write_nodules(dlcs / "DLCSD24_Annotations.csv", rows)
    with pytest.raises(InputError, match="in two splits"):
        select_slices(dlcs, tmp_path / "a", PLAIN)
    (tmp_path / "out.txt").write_text("CASE_2\n")
    select_slices(dlcs, tmp_path / "a", SelectOptions(exclude=tmp_path / "out.txt"))
    assert {image.case_id for image in images_of(tmp_path / "a")} == {"CASE_1", "CASE_3", "CASE_4"}


def test_exclude_of_nothing_that_is_there(dlcs: Path, tmp_path: Path) -> None:
    (tmp_path / "out.txt").write_text("CASE_12\n")
    with pytest.raises(InputError, match=r"out\.txt: no line of it names a case"):
        select_slices(dlcs, tmp_path / "a", SelectOptions(exclude=tmp_path / "out.txt"))
    assert not (tmp_path / "a").exists()


def test_lists_that_name_nothing_change_nothing(dlcs: Path, tmp_path: Path) -> None:
    (tmp_path / "exclude.txt").write_text("")
    (tmp_path / "detections.json").write_text("[]")
    options = SelectOptions(hard_negatives=tmp_path / "detections.json", exclude=tmp_path / "exclude.txt")
    select_slices(dlcs, tmp_path / "a", options)
    select_slices(dlcs, tmp_path / "b")
    for split in SPLITS:
        assert (tmp_path / "a" / f"{split}.json").read_bytes() == (tmp_path / "b" / f"{split}.json").read_bytes()


def test_manifest_tells_lists_apart_and_not_where_they_lie(dlcs: Path, tmp_path: Path) -> None:
    for name, z in (("one", 0), ("two", 1)):
        hard = listed(tmp_path / f"{name}.csv", ("CASE_1", z))
        select_slices(dlcs, tmp_path / name, SelectOptions(hard_negatives=hard))
    texts = [(tmp_path / name / "manifest.ndjson").read_text() for name in ("one", "two")]
    stated = [json.loads(text.splitlines()[0])["options"]["hard_negatives"] for text in texts]
    assert stated[0] != stated[1]
    assert all(one.startswith("sha256:") for one in stated)
    assert str(tmp_path) not in "".join(texts)


def test_png_shows_the_middle_channel_in_its_window(dlcs: Path, tmp_path: Path) -> None:
    select_slices(dlcs, tmp_path / "slices", SelectOptions(context=5, png="mediastinum"))
    low, high = HU_WINDOWS["mediastinum"]
    for image in images_of(tmp_path / "slices"):
        hu = read_slice(tmp_path / "slices" / image.file_name)[2].astype(float)
        with Image.open((tmp_path / "slices" / image.file_name).with_suffix(".png")) as picture:
            gray = np.asarray(picture)
            assert (picture.mode, picture.text["Description"]) == ("L", f"{low}..{high} HU (mediastinum)")
        assert np.abs(gray - np.clip((hu - low) / (high - low), 0, 1) * 255).max() <= 0.5 + 1e-3
    assert read_manifest(tmp_path / "slices")[0]["options"]["png"] == "mediastinum"


def test_profiles_of_scans_with_nodules(dlcs: Path, tmp_path: Path) -> None:
    select_slices(dlcs, tmp_path / "a", SelectOptions(profiles=True))
    assert sorted(path.name for path in (tmp_path / "a" / "profiles").iterdir()) == [f"CASE_{n}.png" for n in (1, 2, 3)]
    for path in (tmp_path / "a" / "profiles").iterdir():
        with Image.open(path) as picture:
            assert len(np.unique(np.asarray(picture))) > 50


@pytest.mark.parametrize("context", [1, 5, 2 * SHAPE[0] + 3])
def test_any_odd_context_repeats_the_ends_of_the_scan(dlcs: Path, tmp_path: Path, context: int) -> None:
    hard = listed(tmp_path / "hard.csv", ("CASE_4", 0), ("CASE_4", SHAPE[0] - 1))
    select_slices(dlcs, tmp_path / "s", SelectOptions(context=context, hard_negatives=hard, negatives=1))
    hu = np.clip(to_canonical(read_nifti(dlcs / "CASE_4.nii.gz")).hu, -1000, 500)
    for z in (0, SHAPE[0] - 1):
        found = read_slice(tmp_path / "s" / "images" / "CASE_4" / f"{z:04d}.npz")
        half = context // 2
        assert np.array_equal(found, np.pad(hu, ((half, half), (0, 0), (0, 0)), "edge")[z : z + context])


def test_a_nodule_cut_by_the_end_of_the_scan(dlcs: Path, tmp_path: Path) -> None:
    """Its box goes on beyond the first slice; one just inside does not; what is left of it is annotated."""
    grid = grid_of(0)
    cut, inside, side = (tuple(grid.to_world(index).tolist()) for index in ((12, 20, 0.5), (28, 20, 2.5), (0, 20, 2)))
    rows = [
        Nodule(name, "CASE_4", "CASE_4", center, (6.0, 6.0, 10.0))
        for name, center in (("nodule_1", cut), ("nodule_2", inside), ("nodule_3", side))
    ]
    write_nodules(dlcs / "DLCSD24_Annotations.csv", rows)
    select_slices(dlcs, tmp_path / "s", SelectOptions(Rule("sliding-window"), negatives=0))
    assert record_of(tmp_path / "s", "CASE_4")["nodules_cut"] == ["nodule_1", "nodule_3"]
    truth = [t for t in (read_truth(tmp_path / "s" / f"{split}.json") for split in SPLITS) if t.images]
    boxes = {
        (image.lungct["z_index"], one.attributes["nodule_id"]): one.box_xyxy_px
        for image in truth[0].images
        for one in truth[0].annotations_of[image.id]
    }
    assert min(z for z, name in boxes if name == "nodule_1") == 0
    assert boxes[0, "nodule_1"] == pytest.approx((10.5, 18.5, 14.5, 22.5))
    assert boxes[2, "nodule_3"] == pytest.approx((0, 18.5, 2.5, 22.5))


def test_resume_minds_the_lists_and_pictures(dlcs: Path, tmp_path: Path) -> None:
    hard = listed(tmp_path / "hard.csv", ("CASE_4", 0))
    whole = (dlcs / "CASE_4.nii.gz").read_bytes()
    (dlcs / "CASE_4.nii.gz").write_bytes(b"broken")
    with pytest.raises(InputError):
        select_slices(dlcs, tmp_path / "a", SelectOptions(png="lung", profiles=True, hard_negatives=hard))
    (dlcs / "CASE_4.nii.gz").write_bytes(whole)
    partial = tmp_path / ".a.partial"
    kept = partial / "images" / "CASE_1" / "0014.npz"
    stamp = kept.stat().st_mtime_ns
    (partial / "profiles" / "CASE_2.png").unlink()
    options = SelectOptions(png="lung", profiles=True, hard_negatives=hard)
    select_slices(dlcs, tmp_path / "a", options, Running(resume=True))
    assert (tmp_path / "a" / "images" / "CASE_1" / "0014.npz").stat().st_mtime_ns == stamp
    select_slices(dlcs, tmp_path / "b", options)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    assert (tmp_path / "a" / "profiles" / "CASE_2.png").is_file()


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
