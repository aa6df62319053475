"""Lung masks hold the lungs of a drawn chest and of real scans, tell their sides, and leave other air out."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from lungct.ct import lung_default
from lungct.ct.axial import axial
from lungct.ct.geometry import cropped, resampled_grid, to_canonical
from lungct.ct.lung_mask import lung_mask, lungs_of_planes
from lungct.registry import LUNG_MASKS
from lungct.types import Grid, Planes, Volume

from .chest import draw_chest
from .real_lungs import dice, real_lungs


@pytest.mark.parametrize("joined", [False, True])
def test_default_finds_both_lungs_and_nothing_else(joined: bool) -> None:
    chest = draw_chest(joined=joined)
    found = lung_mask(chest.volume, chest.volume.grid)
    assert found.hu.dtype == np.uint8
    assert found.grid == chest.volume.grid
    for side in (1, 2):
        assert dice(found.hu == side, chest.lungs == side) > 0.98
    for other, most in ((chest.trachea, 0.1), (chest.gas, 0.0), (chest.table, 0.0)):  # the trachea's end is a hilum's
        assert (found.hu[other] > 0).mean() <= most
    assert not found.hu[:, [0, -1]].any()
    assert (found.hu[chest.nodule] == 1).mean() > 0.7


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1)])
def test_lungs_plane_by_plane_lie_where_the_mask_has_them(flips: tuple[int, int, int]) -> None:
    chest = draw_chest((1.4, 0.9, 0.9))
    turned = to_canonical(chest.volume)
    own, corner = turned.grid, [0 if flip > 0 else size - 1 for flip, size in zip(flips, turned.hu.shape, strict=True)]
    stored = turned.hu[:: flips[0], :: flips[1], :: flips[2]]
    x, y, z = (float(one) for one in own.to_world(tuple(float(one) for one in corner[::-1])))  # type: ignore[arg-type]
    direction = tuple((own.direction_matrix * flips[::-1]).ravel().tolist())
    read: list[int] = []
    planes = Planes(
        Grid(own.shape_zyx, own.spacing_mm_zyx, (x, y, z), direction), lambda n: read.append(n) or stored[n]
    )  # type: ignore[func-returns-value]
    found = lungs_of_planes(axial(planes))
    assert read == sorted(read)
    assert len(read) == -(-len(stored) // 2)
    exact = lung_mask(turned, found.grid)
    for side in (1, 2):
        assert dice(found.hu == side, exact.hu == side) > 0.97


def test_no_plane_is_kept_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    chest, read = draw_chest((2.8, 1.4, 1.4)).volume, []

    def plane(number: int) -> np.ndarray:
        one = chest.hu[number].copy()
        read.append(weakref.ref(one))
        return one

    kept: list[int] = []
    monkeypatch.setattr(
        lung_default, "segment", lambda hu, _: kept.append(sum(one() is not None for one in read)) or hu
    )
    lungs_of_planes(axial(Planes(chest.grid, plane)))
    assert len(read) > 50
    assert kept == [0]


@pytest.mark.parametrize("spacing", [(1.0, 1.2, 1.2), (5.0, 0.9, 0.9), (2.0, 2.8, 1.4)])
def test_mask_comes_back_to_another_grid(spacing: tuple[float, float, float]) -> None:
    chest = draw_chest(spacing)
    grid = resampled_grid(chest.volume.grid, (2.5, 1.5, 1.5))
    found = lung_mask(chest.volume, grid)
    assert found.hu.shape == grid.shape_zyx
    for side in (1, 2):
        of_scan = np.argwhere(chest.lungs == side)[:, ::-1].mean(axis=0)
        of_mask = np.argwhere(found.hu == side)[:, ::-1].mean(axis=0)
        assert np.linalg.norm(chest.volume.grid.to_world(of_scan) - grid.to_world(of_mask)) < 1.5
        volume_ml = (chest.lungs == side).sum() * np.prod(spacing) / 1000
        assert (found.hu == side).sum() * np.prod(grid.spacing_mm_zyx) / 1000 == pytest.approx(volume_ml, rel=0.03)


def test_edge_lies_where_hu_crosses_and_not_at_coarse_voxels() -> None:
    chest = draw_chest((1.0, 0.9, 0.9), noise_hu=0.0)
    blurred = Volume(ndimage.gaussian_filter(chest.volume.hu, 2.0), chest.volume.grid)
    found = lung_mask(blurred, blurred.grid)
    assert dice(found.hu > 0, chest.lungs > 0) > 0.993


def test_sides_are_the_patients_whatever_the_index_order() -> None:
    chest = draw_chest()
    seen = lung_mask(chest.volume, chest.volume.grid).hu
    flipped = Volume(
        chest.volume.hu[:, ::-1, ::-1],
        Grid(
            chest.volume.grid.shape_zyx,
            chest.volume.grid.spacing_mm_zyx,
            tuple(chest.volume.grid.to_world((*(n - 1 for n in chest.volume.grid.shape_zyx[:0:-1]), 0)).tolist()),
            (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0),
        ),
    )
    canonical = to_canonical(flipped)
    np.testing.assert_array_equal(lung_mask(canonical, canonical.grid).hu, seen)


@pytest.mark.parametrize("side", [1, 2])
def test_one_lung_alone_has_its_side(side: int) -> None:
    chest = draw_chest(sides=(side,))
    found = lung_mask(chest.volume, chest.volume.grid).hu
    assert dice(found == side, chest.lungs == side) > 0.98
    assert not (found == 3 - side).any()


def test_lung_at_the_edge_of_a_narrow_field_of_view_stays() -> None:
    chest = draw_chest()
    box = [slice(None), slice(15, 70), slice(22, 60)]  # cuts the right lung's side and all of the left
    narrow = cropped(chest.volume, box)
    lungs = chest.lungs[tuple(box)]
    assert lungs[:, :, 0].any()
    narrow.hu[10:60, 31:55, -3:] = -900  # air that a fold of skin lets in
    found = lung_mask(narrow, narrow.grid).hu
    assert dice(found == 1, lungs == 1) > 0.95
    assert not found[10:60, 31:55, -3:].any()


@pytest.mark.parametrize("padding", [-1024, -2000, -3024])
def test_padding_round_the_field_of_view_is_no_lung(padding: int) -> None:
    chest = draw_chest()
    _, height, width = chest.volume.hu.shape
    y, x = np.ogrid[:height, :width]
    outside = ((y - height / 2) / (height / 2)) ** 2 + ((x - 0.62 * width) / (0.42 * width)) ** 2 > 1
    assert (chest.lungs[:, outside] == 1).any()
    hu = chest.volume.hu.copy()
    hu[:, outside] = padding
    found = lung_mask(Volume(hu, chest.volume.grid), chest.volume.grid).hu
    assert dice(found > 0, (chest.lungs > 0) & ~outside) > 0.97


@pytest.mark.parametrize("padding", [None, -2000])
def test_much_air_round_the_patient_is_no_lung(padding: int | None) -> None:
    chest = draw_chest(table="none")
    hu = np.pad(chest.volume.hu, ((0, 0), (86, 70), (70, 54)), constant_values=-995)
    hu[-2:, 120], hu[-2:, :, 120] = 40, 40  # arms that reach the image's edge
    y, x = np.ogrid[: hu.shape[1], : hu.shape[2]]
    if padding is not None:
        hu[:, (y - 121) ** 2 + (x - 121) ** 2 > 121**2] = padding
    volume = Volume(hu, Grid((hu.shape[0], hu.shape[1], hu.shape[2]), (2.8, 2.8, 2.8), (0.0, 0.0, 0.0)))
    found = lung_mask(volume, volume.grid).hu[:, 86:-70, 70:-54]
    assert dice(found > 0, chest.lungs > 0) > 0.98


@pytest.mark.parametrize("method", LUNG_MASKS)
@pytest.mark.parametrize("hu", [-1000, 40, -3000])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 40), (30, 3, 2)])
def test_a_scan_without_lungs_has_an_empty_mask(method: str, hu: int, shape: tuple[int, int, int]) -> None:
    volume = Volume(np.full(shape, hu, np.int16), Grid(shape, (2.5, 1.4, 1.4), (0.0, 0.0, 0.0)))
    assert not lung_mask(volume, volume.grid, method).hu.any()


def test_values_that_are_no_number_are_outside() -> None:
    chest = draw_chest()
    hu = chest.volume.hu.astype(np.float32)
    hu[:, :4], hu[:, :, :4] = np.nan, np.nan
    found = lung_mask(Volume(hu, chest.volume.grid), chest.volume.grid).hu
    assert dice(found > 0, chest.lungs > 0) > 0.98


@pytest.mark.parametrize(("method", "least"), [("threshold", 0.93), ("watershed", 0.97)])
def test_methods_by_slice_find_both_lungs(method: str, least: float) -> None:
    chest = draw_chest((2.5, 1.4, 1.4), table="hollow" if method == "threshold" else "solid")
    found = lung_mask(chest.volume, chest.volume.grid, method).hu
    middle = slice(30, 60)
    for side in (1, 2):
        assert dice(found[middle] == side, chest.lungs[middle] == side) > least
    assert not (found[middle] > 0)[chest.table[middle]].any()


def test_threshold_drops_what_lies_too_high_or_too_low_in_the_image() -> None:
    hu = np.full((3, 100, 100), 40, np.int16)
    for row in (20, 45, 75):
        hu[:, row - 6 : row + 6, 30:60] = -800
    volume = Volume(hu, Grid(hu.shape, (2.5, 1.4, 1.4), (0.0, 0.0, 0.0)))
    rows = np.flatnonzero(lung_mask(volume, volume.grid, "threshold").hu.any(axis=(0, 2)))
    assert rows[0] >= 45 - 6 - 2
    assert rows[-1] <= 45 + 6 + 1


def test_threshold_keeps_three_pieces_of_a_slice() -> None:
    hu = np.full((1, 100, 200), 40, np.int16)
    for number, column in enumerate((10, 50, 90, 130)):
        hu[:, 40:50, column : column + 10 + number] = -800
    volume = Volume(hu, Grid(hu.shape, (2.5, 1.4, 1.4), (0.0, 0.0, 0.0)))
    columns = np.flatnonzero(lung_mask(volume, volume.grid, "threshold").hu.any(axis=(0, 1)))
    assert columns[0] >= 48
    assert columns[-1] >= 140


def test_watershed_holds_a_nodule_at_the_pleura() -> None:
    chest = draw_chest((2.5, 1.4, 1.4), table="solid")
    found = lung_mask(chest.volume, chest.volume.grid, "watershed").hu
    assert (found[chest.nodule] > 0).mean() > 0.4


@pytest.mark.real
def test_dice_on_real_masks(real_data: Path) -> None:
    for name, (scan, truth) in real_lungs(real_data).items():
        found = lung_mask(scan, scan.grid).hu
        assert dice(found > 0, truth > 0) >= 0.95, name
        for side in (1, 2):
            if (truth == side).any():
                assert dice(found == side, truth == side) >= 0.95, name
    assert set(np.unique(found)) == {0, 1, 2}


@pytest.mark.real
def test_real_lung_alone_is_the_right_one(real_data: Path) -> None:
    scan, truth = real_lungs(real_data)["elastix"]
    assert set(np.unique(lung_mask(scan, scan.grid).hu[truth > 0])) == {0, 1}
