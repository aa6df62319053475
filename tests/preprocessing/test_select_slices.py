"""From out/ to slices/: every box on every slice it cuts, negatives far from nodules, COCO that others can read."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest

from lungct.ct.boxes import footprint
from lungct.ct.geometry import to_canonical
from lungct.ct.select import Rule
from lungct.errors import InputError, UsageError
from lungct.io.boxes_csv import read_nodules, write_nodules
from lungct.io.coco import CocoTruth, read_truth
from lungct.io.nifti import read_nifti
from lungct.io.npz import read_slice
from lungct.preprocessing.cases import Running
from lungct.preprocessing.preprocess import PreprocessOptions, preprocess
from lungct.preprocessing.scan_slices import SelectOptions
from lungct.preprocessing.scans import VolumeOptions
from lungct.preprocessing.select_slices import plan_select_slices, select_slices

from .tiny_dlcs import write_dlcs

ALL = SelectOptions(Rule("all"), negatives=2)
SPLITS = ("train", "val", "test")


@pytest.fixture
def out(dlcs: Path, tmp_path: Path) -> Path:
    preprocess(dlcs, tmp_path / "out", PreprocessOptions(volume=VolumeOptions((1.0, 1.0, 1.5))))
    return tmp_path / "out"


@pytest.fixture
def slices(out: Path, tmp_path: Path) -> Path:
    select_slices(out, tmp_path / "slices", ALL)
    return tmp_path / "slices"


def truths(folder: Path) -> dict[str, CocoTruth]:
    return {name: read_truth(folder / f"{name}.json") for name in SPLITS}


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_patients_are_in_one_split_and_ids_are_unique(slices: Path) -> None:
    found = truths(slices)
    patients = [{image.patient_id for image in truth.images} for truth in found.values()]
    assert sum(map(len, patients)) == len(set().union(*patients)) == 4
    for ids in (
        [i.id for t in found.values() for i in t.images],
        [a.id for t in found.values() for a in t.annotations],
    ):
        assert len(set(ids)) == len(ids)


def test_every_nodule_that_a_slice_cuts_is_on_it(out: Path, slices: Path) -> None:
    nodules = read_nodules(out / "nodules.csv")
    for truth in truths(slices).values():
        for image in truth.images:
            grid = to_canonical(read_nifti(out / "scans" / f"{image.case_id}.nii.gz")).grid
            places = [footprint(one, grid) for one in nodules if one.case_id == image.case_id]
            expected = {p.nodule_id: p.box_xyxy_px for p in places if p and p.spans(image.lungct["z_index"])}
            boxes = {a.attributes["nodule_id"]: a.box_xyxy_px for a in truth.annotations_of[image.id]}
            assert boxes.keys() == expected.keys()
            for name, box in boxes.items():
                assert box == pytest.approx(expected[name], abs=1e-5)
    shared = [len(t.annotations_of[i.id]) for t in truths(slices).values() for i in t.images if i.case_id == "CASE_1"]
    assert max(shared) == 2


def test_nodule_also_on_slices_that_another_nodule_selected(out: Path, tmp_path: Path) -> None:
    select_slices(out, tmp_path / "peak", SelectOptions(Rule("threshold", fraction=1.0), negatives=0))
    found = [(i, t.annotations_of[i.id]) for t in truths(tmp_path / "peak").values() for i in t.images]
    mine = [len(boxes) for image, boxes in found if image.case_id == "CASE_1"]
    assert len(mine) <= 2
    assert sum(mine) > len(mine)


def test_boxes_lie_on_the_bright_pixels(slices: Path) -> None:
    for truth in truths(slices).values():
        for note in truth.annotations:
            image = next(one for one in truth.images if one.id == note.image_id)
            middle = read_slice(slices / image.file_name)[1]
            x1, y1, x2, y2 = (round(value) for value in note.box_xyxy_px)
            assert middle[(y1 + y2) // 2, (x1 + x2) // 2] > -700
            ring = np.concatenate([middle[y1 - 2, x1:x2], middle[y2 + 1, x1:x2]])
            assert np.median(ring) < -500


def test_channels_are_the_neighbours_of_the_scan(out: Path, slices: Path) -> None:
    truth = truths(slices)["train"]
    image = truth.images[0]
    hu = to_canonical(read_nifti(out / "scans" / f"{image.case_id}.nii.gz")).hu
    z = image.lungct["z_index"]
    stored = read_slice(slices / image.file_name)
    assert stored.shape == (3, image.height, image.width)
    for channel, near in enumerate((z - 1, z, z + 1)):
        assert np.array_equal(stored[channel], hu[near])


def test_negatives_show_lung_far_from_nodules(out: Path, slices: Path) -> None:
    nodules = read_nodules(out / "nodules.csv")
    empty = [image for truth in truths(slices).values() for image in truth.images if not truth.annotations_of[image.id]]
    assert sorted({image.case_id for image in empty}) == ["CASE_1", "CASE_2", "CASE_3", "CASE_4"]
    assert len(empty) == 8
    for image in empty:
        if image.case_id == "CASE_2":
            continue
        assert (read_slice(slices / image.file_name)[1] < -700).mean() > 0.2
        for one in nodules:
            if one.case_id == image.case_id:
                assert abs(image.lungct["z_mm"] - one.center_lps_mm[2]) - one.size_mm[2] / 2 >= 10 - 1e-3


def test_every_negative_of_a_scan_shows_lung(out: Path, tmp_path: Path) -> None:
    select_slices(out, tmp_path / "many", SelectOptions(negatives=999))
    images = [image for truth in truths(tmp_path / "many").values() for image in truth.images]
    mine = [image.lungct["z_index"] for image in images if image.case_id == "CASE_4"]
    # The lungs reach from 4 to 56 mm of 60; the estimate is made on every other slice.
    assert 3 <= min(mine) <= 4
    assert 36 <= max(mine) <= 38
    assert len(mine) == max(mine) - min(mine) + 1


def test_same_bytes_with_workers_and_after_a_resume(out: Path, slices: Path, tmp_path: Path) -> None:
    select_slices(out, tmp_path / "b", ALL, Running(workers=2))
    assert files_of(slices) == files_of(tmp_path / "b")
    (tmp_path / "c").parent.joinpath(".c.partial").mkdir()
    select_slices(out, tmp_path / "c", ALL, Running(resume=True))
    assert files_of(slices) == files_of(tmp_path / "c")


def test_resume_with_other_scans_selects_again(dlcs: Path, out: Path, tmp_path: Path) -> None:
    last = out / "scans" / "CASE_4.nii.gz"
    whole = last.read_bytes()
    last.write_bytes(b"broken")
    with pytest.raises(InputError):
        select_slices(out, tmp_path / "a", ALL)
    last.write_bytes(whole)
    other = PreprocessOptions(volume=VolumeOptions((1.0, 1.0, 2.5)), hu_clip=(-900, 300))
    preprocess(dlcs, out, other, Running(overwrite=True))
    select_slices(out, tmp_path / "a", ALL, Running(resume=True))
    select_slices(out, tmp_path / "b", ALL)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_stated_splits_are_kept(tmp_path: Path) -> None:
    write_dlcs(tmp_path / "dlcs", patients=3, split="test")
    select_slices(tmp_path / "dlcs", tmp_path / "slices", SelectOptions(negatives=0))
    assert [len(truth.images) > 0 for truth in truths(tmp_path / "slices").values()] == [False, False, True]


def test_a_patient_or_a_scan_in_two_splits_is_refused(dlcs: Path, tmp_path: Path) -> None:
    rows = read_nodules(dlcs / "DLCSD24_Annotations.csv")
    write = dlcs / "DLCSD24_Annotations.csv"
    changed = [
        type(one)(**{**vars(one), "patient_id": "patient_1", "split": "val" if one.case_id == "CASE_2" else "train"})
        for one in rows
    ]
    write_nodules(write, changed)
    with pytest.raises(InputError, match="patient patient_1 is in two splits"):
        select_slices(dlcs, tmp_path / "slices", ALL)
    write_nodules(write, rows)
    for number in (2, 3, 4):
        (dlcs / f"CASE_{number}.nii.gz").write_bytes((dlcs / "CASE_1.nii.gz").read_bytes())
    with pytest.raises(InputError, match="have the same voxels"):
        select_slices(dlcs, tmp_path / "slices", ALL)


def test_nothing_to_select_and_even_context(dlcs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="odd number"):
        SelectOptions(context=2)
    (dlcs / "DLCSD24_Annotations.csv").unlink()
    with pytest.raises(InputError, match="no slice to select"):
        select_slices(dlcs, tmp_path / "slices", ALL)


def test_plan_agrees_with_what_is_written(out: Path, slices: Path, tmp_path: Path) -> None:
    plan = plan_select_slices(out, tmp_path / "other", ALL)
    assert plan["patients"] == {name: len({i.patient_id for i in t.images}) for name, t in truths(slices).items()}
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("split", SPLITS)
def test_other_programs_read_our_coco(slices: Path, split: str) -> None:
    path = str(slices / f"{split}.json")
    document = json.loads(Path(path).read_text())
    with contextlib.redirect_stdout(io.StringIO()):
        from pycocotools.coco import COCO

        oracle = COCO(path)
        assert len(oracle.getAnnIds()) == len(document["annotations"])
        import faster_coco_eval

        assert len(faster_coco_eval.COCO(path).getImgIds()) == len(document["images"])
        from torchvision.datasets import CocoDetection

        assert len(CocoDetection(str(slices), path)) == len(document["images"])
    from supervision.dataset.formats.coco import load_coco_annotations

    classes, images, annotations = load_coco_annotations(str(slices), path)
    assert classes == ["nodule"]
    assert len(images) == len(document["images"])
    ours = read_truth(Path(path))
    for image in ours.images:
        theirs = annotations[str(slices / image.file_name)].xyxy
        np.testing.assert_allclose(theirs, ours.boxes_of(image.id), atol=1e-4)
        for x1, y1, x2, y2 in ours.boxes_of(image.id):
            assert 0 <= x1 < x2 <= image.width
            assert 0 <= y1 < y2 <= image.height
