"""The written dataset: DLCS24 layout, the same bytes whoever writes it, a geometry that all readers share."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from lungct.errors import OutputExists, UsageError
from lungct.io.boxes_csv import DLCS_COLUMNS, read_nodules
from lungct.io.manifest import read_manifest
from lungct.io.nifti import read_nifti
from lungct.phantom.dataset import ANNOTATIONS, PhantomOptions, split_of, write_phantoms
from lungct.phantom.sampling import has_nodules

TINY = {"size": 64, "slices": 20}


def digests(folder: Path) -> dict[str, str]:
    files = sorted(one for one in folder.rglob("*") if one.is_file())
    return {str(one.relative_to(folder)): hashlib.sha256(one.read_bytes()).hexdigest() for one in files}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "dlcs"
    write_phantoms(out, PhantomOptions(patients=8, masks=True, seed=3, **TINY))
    return out


def test_the_layout_is_that_of_dlcs24(written: Path) -> None:
    header = (written / ANNOTATIONS).read_text().splitlines()[0]
    assert header == ",".join(DLCS_COLUMNS)
    nodules = read_nodules(written / ANNOTATIONS)
    assert {one.patient_id for one in nodules} == {
        f"PHANTOM_{index + 1:04d}" for index in range(8) if has_nodules(3, index)
    }
    for nodule in nodules:
        assert (written / f"{nodule.case_id}.nii.gz").is_file()
        assert nodule.nodule_id.startswith(nodule.patient_id + "_")
        assert nodule.malignant in (0, 1)
        assert min(nodule.size_mm) > 0
    assert len(list(written.glob("*.nii.gz"))) == 8
    assert len({one.nodule_id for one in nodules}) == len(nodules)


def test_the_plan_names_exactly_what_is_written(written: Path) -> None:
    plan = PhantomOptions(patients=8, masks=True, seed=3, **TINY).plan()
    assert sorted(plan["files"]) == sorted(digests(written))
    assert plan["patients_with_nodules"] == 7
    total = sum(one.stat().st_size for one in written.rglob("*") if one.is_file())
    assert 0.5 < plan["bytes_estimate"] / total < 2.0
    assert Counter(plan["splits"]) == Counter(train=5, val=1, test=2)


def test_scans_do_not_depend_on_workers_or_on_the_number_of_patients(written: Path, tmp_path: Path) -> None:
    write_phantoms(tmp_path / "some", PhantomOptions(patients=3, masks=True, seed=3, **TINY), workers=2)
    all_of_them = digests(written)
    for name, digest in digests(tmp_path / "some").items():
        if name.endswith(".nii.gz"):
            assert digest == all_of_them[name]
    some = (tmp_path / "some" / ANNOTATIONS).read_text()
    assert (written / ANNOTATIONS).read_text().startswith(some)
    write_phantoms(tmp_path / "alone", PhantomOptions(patients=3, masks=True, seed=3, **TINY), workers=0)
    assert digests(tmp_path / "some") == digests(tmp_path / "alone")


def test_masks_lie_on_their_scans_and_bear_out_the_boxes(written: Path) -> None:
    nodules = read_nodules(written / ANNOTATIONS)
    for path in sorted(written.glob("*.nii.gz")):
        scan, mask = read_nifti(path), read_nifti(written / "masks" / path.name)
        assert scan.grid == mask.grid
        own = [one for one in nodules if one.case_id == path.name.removesuffix(".nii.gz")]
        assert mask.hu.max() == len(own)
        half_voxel = 0.5 * min(scan.grid.spacing_mm_zyx)
        for label, nodule in enumerate(own, 1):
            index = np.argwhere(mask.hu == label)[:, ::-1]
            world = scan.grid.to_world(index)
            reach = 0.5 * np.abs(scan.grid.affine_lps[:3, :3]).sum(axis=1)
            center = (world.min(axis=0) + world.max(axis=0)) / 2
            assert np.abs(center - nodule.center_lps_mm).max() < half_voxel / 100
            extent = world.max(axis=0) - world.min(axis=0) + 2 * reach
            assert np.abs(extent - nodule.size_mm).max() < half_voxel / 100


def test_nibabel_and_simpleitk_see_the_same_place(written: Path) -> None:
    orientations = set()
    for path in sorted(written.glob("*.nii.gz")):
        image, other = nibabel.load(path), SimpleITK.ReadImage(str(path))
        orientations.add(nibabel.aff2axcodes(image.affine))
        assert image.get_data_dtype() == np.int16
        for index in ((0, 0, 0), (5, 40, 11), (63, 2, 19)):
            ras = image.affine @ [*index, 1]
            lps = other.TransformIndexToPhysicalPoint(index)
            np.testing.assert_allclose(ras[:3] * [-1, -1, 1], lps, atol=2e-3)
            assert int(image.dataobj[index]) == other.GetPixel(index)
        assert int(image.header["qform_code"]) == int(image.header["sform_code"]) == 1
    assert len(orientations) >= 3


def test_the_manifest_describes_each_scan(written: Path) -> None:
    head, *records = read_manifest(written)
    assert head["command"] == "phantom"
    assert [one["case_id"] for one in records] == [f"PHANTOM_{number:04d}" for number in range(1, 9)]
    for record in records:
        assert record["sha256"] == hashlib.sha256((written / record["path"]).read_bytes()).hexdigest()
        assert record["nodules"] == len(record["drawn"])
        assert record["shape"] == [64, 64, 20]


def test_splits_hold_their_shares_in_every_prefix() -> None:
    names = [split_of(index) for index in range(200)]
    assert names[:8] == [split_of(index) for index in range(8)]
    for count in (8, 12, 16, 40, 200):
        share = {name: times / count for name, times in Counter(names[:count]).items()}
        assert share["train"] == pytest.approx(0.60, abs=0.5 / count + 0.05)
        assert share["val"] == pytest.approx(0.15, abs=0.5 / count + 0.05)
        assert share["test"] == pytest.approx(0.25, abs=0.5 / count + 0.05)


def test_an_output_is_not_replaced_unasked(written: Path) -> None:
    before = digests(written)
    with pytest.raises(OutputExists, match="overwrite"):
        write_phantoms(written, PhantomOptions(patients=1, **TINY))
    assert digests(written) == before


def test_too_small_a_volume_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 1 patient"):
        write_phantoms(tmp_path / "out", PhantomOptions(patients=1, size=16, slices=20))
    assert not (tmp_path / "out").exists()
