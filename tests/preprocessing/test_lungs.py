"""Lung masks beside scans, scans cut to their lungs, enhanced slices, and images brought to one size."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import typer
from PIL import Image

from lungct.cli.options import size_of, window_of
from lungct.ct.enhance import Enhancement, enhance
from lungct.errors import InputError, UsageError
from lungct.io.boxes_csv import read_nodules, write_nodules
from lungct.io.coco import read_truth
from lungct.io.manifest import read_manifest
from lungct.io.nifti import read_nifti, write_nifti
from lungct.io.npz import read_slice
from lungct.phantom.scan import render_phantom
from lungct.preprocessing.cases import Running
from lungct.preprocessing.lungs import LungOptions
from lungct.preprocessing.merge import merge
from lungct.preprocessing.preprocess import PreprocessOptions, preprocess
from lungct.preprocessing.scans import VolumeOptions
from lungct.preprocessing.shard import Shard
from lungct.sources.source import read_source
from lungct.types import Nodule, Volume

SPACING = (2.0, 2.2, 2.4)
VOC = """<annotation><size><width>40</width><height>30</height><depth>1</depth></size><object><name>nodule</name>
<bndbox><xmin>9</xmin><ymin>4</ymin><xmax>19</xmax><ymax>13</ymax></bndbox></object></annotation>"""


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``scan_1`` with a nodule in the lung and one under the skin, ``scan_2`` without lungs."""
    folder = tmp_path_factory.mktemp("scans")
    phantom = render_phantom(0, 0, size=112, slices=56)
    write_nifti(folder / "scan_1.nii.gz", phantom.volume)
    soft = np.maximum(phantom.volume.hu, -200)
    write_nifti(folder / "scan_2.nii.gz", Volume(soft, phantom.volume.grid))
    skin = tuple(phantom.volume.grid.to_world((56, 18, 20)).tolist())
    write_nodules(
        folder / "nodules.csv",
        [
            Nodule("nodule_1", "scan_1", "scan_1", phantom.nodules[0].center_lps_mm, phantom.nodules[0].size_mm),
            Nodule("nodule_2", "scan_1", "scan_1", skin, (9.0, 9.0, 9.0)),
        ],
    )
    return folder


def options(mask: str | None = None, margin: float | None = None, **more: object) -> PreprocessOptions:
    return replace(PreprocessOptions(volume=VolumeOptions(SPACING, LungOptions(mask, margin))), **more)


def records(out: Path) -> list[dict[str, object]]:
    return read_manifest(out)[1:]


def test_mask_lies_on_its_scan_with_sides_of_the_patient(scans: Path, tmp_path: Path) -> None:
    preprocess(scans, tmp_path / "out", options("default"))
    scan, mask = (nibabel.load(tmp_path / "out" / kind / "scan_1.nii.gz") for kind in ("scans", "lungs"))
    assert mask.get_data_dtype() == np.uint8
    assert mask.shape == scan.shape
    np.testing.assert_array_equal(mask.affine, scan.affine)
    labels, hu = np.asanyarray(mask.dataobj), np.asanyarray(scan.dataobj)
    assert np.median(hu[labels > 0]) == pytest.approx(-830, abs=15)
    right, left = (mask.affine[:3] @ [*np.argwhere(labels == side).mean(axis=0), 1] for side in (1, 2))
    assert right[0] > left[0] + 100  # RAS: x grows to the right
    said = records(tmp_path / "out")[0]["lungs"]
    voxel_ml = np.prod(SPACING) / 1000
    assert said["right_ml"] == pytest.approx((labels == 1).sum() * voxel_ml, abs=0.1)
    assert said["left_ml"] == pytest.approx((labels == 2).sum() * voxel_ml, abs=0.1)
    assert [scan.case_id for scan in read_source(tmp_path / "out").scans] == ["scan_1", "scan_2"]


def test_nothing_of_lungs_is_written_unasked(scans: Path, tmp_path: Path) -> None:
    preprocess(scans, tmp_path / "out", options())
    assert not (tmp_path / "out" / "lungs").exists()
    assert all("lungs" not in record for record in records(tmp_path / "out"))


def test_crop_keeps_voxels_where_they_were(scans: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    preprocess(scans, tmp_path / "whole", options("default"))
    with caplog.at_level(logging.WARNING, "lungct"):
        preprocess(scans, tmp_path / "cut", options("default", 12.0))
    whole, cut = (read_nifti(tmp_path / name / "scans" / "scan_1.nii.gz") for name in ("whole", "cut"))
    first = np.rint(whole.grid.to_index(cut.grid.to_world((0, 0, 0)))).astype(int)
    x, y, z = first.tolist()
    depth, height, width = cut.hu.shape
    np.testing.assert_array_equal(cut.hu, whole.hu[z : z + depth, y : y + height, x : x + width])
    np.testing.assert_allclose(cut.grid.to_world((3, 4, 5)), whole.grid.to_world((x + 3, y + 4, z + 5)), atol=1e-3)
    mask = read_nifti(tmp_path / "cut" / "lungs" / "scan_1.nii.gz").hu
    inside = np.argwhere(mask)
    assert (mask > 0).sum() == (read_nifti(tmp_path / "whole" / "lungs" / "scan_1.nii.gz").hu > 0).sum()
    margin = np.ceil(12.0 / np.asarray(SPACING[::-1]))
    np.testing.assert_array_equal(inside.min(axis=0)[1:], margin[1:])
    np.testing.assert_array_equal(np.asarray(mask.shape)[1:] - 1 - inside.max(axis=0)[1:], margin[1:])
    assert (tmp_path / "cut" / "nodules.csv").read_bytes() == (tmp_path / "whole" / "nodules.csv").read_bytes()
    said = records(tmp_path / "cut")[0]["lungs"]
    assert said["shape_before_crop"] == list(whole.hu.shape[::-1])
    assert said["nodules_cut"] == [one.nodule_id for one in read_nodules(tmp_path / "cut" / "nodules.csv")][1:]
    assert "reaches out of the crop to the lungs" in caplog.text
    assert "scan_2: no lungs found, so it is not cut" in caplog.text
    soft = [read_nifti(tmp_path / name / "scans" / "scan_2.nii.gz").hu.shape for name in ("whole", "cut")]
    assert soft[0] == soft[1]


def test_crop_alone_writes_no_mask(scans: Path, tmp_path: Path) -> None:
    preprocess(scans, tmp_path / "out", options(None, 0.0))
    assert not (tmp_path / "out" / "lungs").exists()
    assert records(tmp_path / "out")[0]["shape"][0] < records(tmp_path / "out")[1]["shape"][0]


def test_workers_and_resume_give_the_same_masks(scans: Path, tmp_path: Path) -> None:
    preprocess(scans, tmp_path / "one", options("default", 5.0))
    preprocess(scans, tmp_path / "two", options("default", 5.0), Running(workers=2))
    (tmp_path / "one").rename(tmp_path / ".three.partial")
    preprocess(scans, tmp_path / "three", options("default", 5.0), Running(resume=True))
    for path in (tmp_path / "two").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "three" / path.relative_to(tmp_path / "two")).read_bytes()


def test_shards_with_masks_join_to_the_whole(scans: Path, tmp_path: Path) -> None:
    preprocess(scans, tmp_path / "whole", options("default"))
    shards = [tmp_path / f"shard-{index}" for index in range(2)]
    for index, shard in enumerate(shards):
        preprocess(scans, shard, options("default"), Running(shard=Shard(index, 2)))
    merge(shards, tmp_path / "out")
    for path in (tmp_path / "whole").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "out" / path.relative_to(tmp_path / "whole")).read_bytes()
    holder = next(shard for shard in shards if (shard / "lungs").is_dir())
    next((holder / "lungs").iterdir()).unlink()
    with pytest.raises(InputError, match=r"lungs/scan_\d\.nii\.gz, which its manifest names, is missing"):
        merge(shards, tmp_path / "again")


def test_a_mask_that_is_gone_is_made_again(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr("lungct.preprocessing.scans.write_nodules", fail)
        with pytest.raises(KeyboardInterrupt):
            preprocess(scans, tmp_path / "out", options("default"))
    (tmp_path / ".out.partial" / "lungs" / "scan_1.nii.gz").unlink()
    preprocess(scans, tmp_path / "out", options("default"), Running(resume=True))
    assert (tmp_path / "out" / "lungs" / "scan_1.nii.gz").is_file()


def test_enhanced_scan_is_hu_of_the_window_and_leaves_the_mask(scans: Path, tmp_path: Path) -> None:
    window, how = (-1350, 150), Enhancement.of("gamma-clahe", bilateral_hu=60.0)
    preprocess(scans, tmp_path / "plain", options("default", hu_clip=window))
    preprocess(scans, tmp_path / "enhanced", options("default", hu_clip=window, enhancement=how))
    plain, enhanced = (read_nifti(tmp_path / name / "scans" / "scan_1.nii.gz") for name in ("plain", "enhanced"))
    assert enhanced.hu.dtype == np.int16
    assert enhanced.grid == plain.grid
    upright = [one.hu[:, ::-1, ::-1] for one in (plain, enhanced)]  # as preprocess saw it, in LPS order
    for z in (10, 40):
        np.testing.assert_array_equal(upright[1][z], enhance(upright[0][z], window, how))
    masks = [(tmp_path / name / "lungs" / "scan_1.nii.gz").read_bytes() for name in ("plain", "enhanced")]
    assert masks[0] == masks[1]
    stated = read_manifest(tmp_path / "enhanced")[0]["options"]
    assert stated["enhancement"] == {"gamma": 1.35, "clahe": 2.5, "bilateral_hu": 60.0}
    assert stated["hu_clip"] == [-1350, 150]


def test_a_narrow_window_does_not_hide_the_lungs(scans: Path, tmp_path: Path) -> None:
    preprocess(scans, tmp_path / "out", options("default", hu_clip=(-160, 240)))
    assert records(tmp_path / "out")[0]["lungs"]["right_ml"] > 500


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    folder = tmp_path / "slices"
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    gray = np.random.default_rng(1).integers(0, 255, (30, 40)).astype(np.uint8)
    Image.fromarray(gray).save(folder / "images" / "case_1.png")
    (folder / "annotations" / "case_1.xml").write_text(VOC)
    return folder


def test_images_of_another_size_have_boxes_and_spacing_of_it(slices: Path, tmp_path: Path) -> None:
    plain = PreprocessOptions(reading=replace(PreprocessOptions().reading, pixel_spacing_mm=0.6))
    preprocess(slices, tmp_path / "old", plain)
    preprocess(slices, tmp_path / "new", replace(plain, size_2d=(80, 45)))
    old, new = (read_truth(tmp_path / name / "slices.json") for name in ("old", "new"))
    assert (new.images[0].width, new.images[0].height) == (80, 45)
    assert read_slice(tmp_path / "new" / new.images[0].file_name).shape == (1, 45, 80)
    box, other = (np.asarray(one.annotations[0].box_xyxy_px) for one in (old, new))
    np.testing.assert_allclose(other, box * [2.0, 1.5, 2.0, 1.5])
    assert new.images[0].lungct["spacing_mm"] == pytest.approx([0.3, 0.4])


def test_images_are_enhanced_after_resizing(slices: Path, tmp_path: Path) -> None:
    how = Enhancement(gamma=1.35, clahe=2.5)
    preprocess(slices, tmp_path / "old", PreprocessOptions(size_2d=(64, 64)))
    preprocess(slices, tmp_path / "new", PreprocessOptions(size_2d=(64, 64), enhancement=how))
    name = read_truth(tmp_path / "old" / "slices.json").images[0].file_name
    old, new = (read_slice(tmp_path / folder / name)[0] for folder in ("old", "new"))
    np.testing.assert_array_equal(new, enhance(old, (-1000, 500), how))


def test_options_of_the_other_kind_are_refused(scans: Path, slices: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lungs are found in volumes; voc2d has 2D images"):
        preprocess(slices, tmp_path / "out", options("default"))
    with pytest.raises(UsageError, match="a 2D size is for 2D images; volumes has volumes"):
        preprocess(scans, tmp_path / "out", PreprocessOptions(size_2d=(64, 64)))
    assert not (tmp_path / "out").exists()


def test_command_line_takes_names_and_numbers(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    flags = "--spacing 2,2.2,2.4 --lung-mask watershed --crop-to-lungs 5 --hu-clip lung --enhance clahe-bilateral"
    command = [sys.executable, "-m", "lungct", "preprocess", str(scans), str(out), *flags.split(), "--clahe", "4"]
    subprocess.run(command, check=True, capture_output=True)
    stated = json.loads((out / "manifest.ndjson").read_text().splitlines()[0])["options"]
    assert stated["volume"]["lungs"] == {"mask": "watershed", "crop_margin_mm": 5.0}
    assert stated["hu_clip"] == [-1350, 150]
    assert stated["enhancement"] == {"gamma": None, "clahe": 4.0, "bilateral_hu": 100.0}


@pytest.mark.parametrize("size", ["64", "64,0", "64.5,64", "a,b", "64,nan"])
def test_size_that_is_none_is_refused(size: str) -> None:
    assert size_of("64,48", "--size-2d") == (64, 48)
    with pytest.raises(typer.BadParameter):
        size_of(size, "--size-2d")


def test_window_is_a_name_or_numbers() -> None:
    assert window_of("mediastinum", "--hu-clip") == (-160, 240)
    assert window_of("-900,100", "--hu-clip") == (-900, 100)
    with pytest.raises(typer.BadParameter, match=r"nonsense.*lung, mediastinum"):
        window_of("nonsense", "--hu-clip")
