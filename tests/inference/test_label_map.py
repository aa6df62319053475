"""Nodules as voxels: the right voxels of the scan's own grid, as other libraries read it."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from lungct.ct.axial import axial
from lungct.ct.geometry import resampled_grid
from lungct.inference.label_map import write_labels
from lungct.inference.link import link
from lungct.inference.nodule import FoundNodule
from lungct.io.volume_file import volume_planes
from lungct.types import Detections, Grid

RAS = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)
OBLIQUE = (0.9848, -0.1736, 0.0, -0.1736, -0.9848, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0)


def found_on(grid: Grid, *boxes: tuple[float, float, float, float, int, int, float]) -> list[FoundNodule]:
    """A nodule per (x1, y1, x2, y2, first, last, score), best first."""
    nodules = []
    for *box, first, last, score in boxes:
        marks = {
            z: Detections(z, np.array([box]), np.array([score]), np.array([1]))
            for z in range(int(first), int(last) + 1)
        }
        nodules += link(marks, grid, case_id="a")
    return nodules


def written(tmp_path: Path, name: str, direction: tuple[float, ...]) -> tuple[Path, Grid, Grid]:
    """A scan as a file, its own grid, and a model's grid over it."""
    image = SimpleITK.Image(50, 44, 36, SimpleITK.sitkInt16)
    image.SetSpacing((0.7, 0.8, 1.6))
    image.SetOrigin((-31.0, 12.0, 400.0))
    image.SetDirection(direction)
    SimpleITK.WriteImage(image, str(tmp_path / name))
    with volume_planes(tmp_path / name) as planes:
        canonical = axial(planes).grid
        return tmp_path / name, planes.grid, resampled_grid(canonical, (1.25, 1.0, 1.0))


@pytest.mark.parametrize("direction", [RAS, OBLIQUE, SAGITTAL], ids=["ras", "oblique", "sagittal"])
@pytest.mark.parametrize("shape", ["ellipsoid", "box"])
def test_the_scans_own_grid_and_the_places_of_the_nodules(
    tmp_path: Path, direction: tuple[float, ...], shape: str
) -> None:
    scan, own, searched = written(tmp_path, "scan.nii.gz", direction)
    nodules = found_on(searched, (8, 6, 18, 15, 10, 17, 0.9), (20, 20, 26, 28, 5, 8, 0.4))
    write_labels(tmp_path / "labels.nii.gz", nodules, searched, own, shape)
    theirs, ours = nibabel.load(scan), nibabel.load(tmp_path / "labels.nii.gz")
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-5)
    one, other = SimpleITK.ReadImage(str(scan)), SimpleITK.ReadImage(str(tmp_path / "labels.nii.gz"))
    for name in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(one, name)(), getattr(other, name)(), atol=1e-5)
    statistics = SimpleITK.LabelShapeStatisticsImageFilter()
    statistics.Execute(other)
    assert statistics.GetLabels() == (1, 2)
    for number, nodule in enumerate(nodules, 1):
        half_voxel = 0.5 * max(own.spacing_mm_zyx)
        np.testing.assert_allclose(statistics.GetCentroid(number), nodule.center_lps_mm, atol=half_voxel)
        of_box = np.prod(nodule.size_mm) * (np.pi / 6 if shape == "ellipsoid" else 1)
        assert statistics.GetPhysicalSize(number) == pytest.approx(of_box, rel=0.25)


def test_small_ones_are_seen_and_the_better_one_is_on_top(tmp_path: Path) -> None:
    grid = Grid((12, 20, 20), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    own = resampled_grid(grid, (4.0, 4.0, 4.0))
    nodules = found_on(
        grid, (4, 4, 10, 10, 2, 6, 0.9), (6, 4, 12, 10, 2, 6, 0.8), (15.2, 15.2, 15.9, 15.9, 11, 11, 0.1)
    )
    write_labels(tmp_path / "fine.nii.gz", nodules, grid, grid, "box")
    voxels = np.asarray(nibabel.load(tmp_path / "fine.nii.gz").dataobj)
    assert voxels.dtype == np.uint8
    assert (voxels[6:10, 4:10, 2:7] == 1).all()
    assert (voxels[10:12, 4:10, 2:7] == 2).all()
    assert (voxels == 3).sum() == 1
    write_labels(tmp_path / "coarse.nii.gz", nodules, grid, own, "ellipsoid")
    assert (np.asarray(nibabel.load(tmp_path / "coarse.nii.gz").dataobj) == 3).sum() == 1


def test_more_than_a_byte_holds(tmp_path: Path) -> None:
    grid = Grid((2, 40, 40), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    boxes = [(x, y, x + 1, y + 1, 0, 0, 0.5) for x in range(0, 40, 2) for y in range(0, 30, 2)]
    write_labels(tmp_path / "many.nii.gz", found_on(grid, *boxes), grid, grid, "box")
    voxels = np.asarray(nibabel.load(tmp_path / "many.nii.gz").dataobj)
    assert voxels.dtype == np.uint16
    assert set(np.unique(voxels)) == set(range(301))


def test_nothing_found_is_a_volume_of_zeros(tmp_path: Path) -> None:
    grid = Grid((3, 4, 5), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    write_labels(tmp_path / "none.nii.gz", [], grid, grid, "box")
    image = nibabel.load(tmp_path / "none.nii.gz")
    assert image.shape == (5, 4, 3)
    assert not np.asarray(image.dataobj).any()
