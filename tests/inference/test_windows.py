"""The window of a slice that is searched: all of the lungs, or of the body, and little of the rest."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lungct.ct.axial import axial
from lungct.ct.lung_mask import lungs_of_planes
from lungct.inference.windows import ALONG_MM, LEAST_LUNG_ML, MARGIN_MM, STEP_PX, body_window, in_slice, lung_windows
from lungct.sources.planes import scan_planes
from lungct.sources.source import read_source
from lungct.types import Detections, Grid, Planes, Volume
from tests.ct.real_lungs import real_lungs

SPACING = (0.75, 0.75)


def slice_with_body(rows: slice, columns: slice, shape: tuple[int, int] = (400, 480)) -> np.ndarray:
    """A (3, Y, X) stack of air with a body of lung in a wall of 30 pixels."""
    stack = np.full((3, *shape), -1000, np.int16)
    stack[:, rows, columns] = 40
    stack[:, rows.start + 30 : rows.stop - 30, columns.start + 30 : columns.stop - 30] = -850
    return stack


def test_the_window_holds_the_body_with_its_margin_and_no_more_than_a_step() -> None:
    rows, columns = slice(110, 290), slice(100, 390)
    window = body_window(slice_with_body(rows, columns), SPACING)
    margin = MARGIN_MM / SPACING[0]
    for found, body in zip(window, (rows, columns), strict=True):
        assert body.start - margin - STEP_PX - 4 < found.start <= body.start - margin + 4
        assert body.stop + margin - 4 <= found.stop < body.stop + margin + STEP_PX + 4


def test_a_table_and_a_cable_do_not_widen_it() -> None:
    stack = slice_with_body(slice(110, 250), slice(100, 390))
    bare = body_window(stack, SPACING)
    stack[:, 330:335, 40:440] = 100
    stack[:, 20:30, 20:30] = 1000
    assert body_window(stack, SPACING) == bare


def test_arms_beside_the_body_are_held() -> None:
    stack = slice_with_body(slice(110, 250), slice(140, 350))
    stack[:, 150:230, 30:110] = 40
    assert body_window(stack, SPACING)[1].start == 0


def test_only_the_middle_slice_of_a_stack_counts() -> None:
    stack = slice_with_body(slice(110, 250), slice(160, 330))
    bare = body_window(stack, SPACING)
    stack[0] = 40
    assert body_window(stack, SPACING) == bare


@pytest.mark.parametrize("value", [-1000, 0])
def test_without_a_body_or_full_of_it_the_whole_slice_is_searched(value: int) -> None:
    assert body_window(np.full((1, 90, 70), value, np.int16), SPACING) == (slice(0, 90), slice(0, 70))


def test_boxes_come_back_in_the_pixels_of_the_slice() -> None:
    boxes = np.array([[1, 2, 3, 5]], np.float32)
    found = Detections("a", boxes, np.array([0.5], np.float32), np.array([1]))
    assert in_slice(found, (slice(64, 96), slice(32, 64))).boxes_xyxy_px.tolist() == [[33, 66, 35, 69]]


def labels(*sides: tuple[int, tuple[slice, slice, slice]], shape: tuple[int, int, int] = (30, 40, 50)) -> Volume:
    """Lungs as boxes on a grid of 3 mm."""
    hu = np.zeros(shape, np.uint8)
    for side, box in sides:
        hu[box] = side
    return Volume(hu, Grid(shape, (3.0, 3.0, 3.0), (-70.0, -55.0, 12.0)))


RIGHT, LEFT = (slice(6, 20), slice(7, 27), slice(4, 22)), (slice(8, 22), slice(9, 29), slice(26, 45))
FINE = Grid((64, 190, 230), (1.4, 0.65, 0.7), (-72.0, -57.0, 10.0))


def test_lungs_are_held_with_their_margin_and_no_more_than_a_step() -> None:
    lungs = labels((1, RIGHT), (2, LEFT))
    windows = lung_windows(lungs, FINE)
    assert windows is not None
    z_mm = FINE.origin_lps_mm[2] + np.arange(FINE.shape_zyx[0]) * FINE.spacing_mm_zyx[0]
    coarse_mm = lungs.grid.origin_lps_mm[2] + np.arange(30) * 3.0
    reached = {reach: np.abs(coarse_mm[:, None] - z_mm) - 1.5 <= reach for reach in (MARGIN_MM, ALONG_MM)}
    for z in range(FINE.shape_zyx[0]):
        close = [(lungs.hu[reached[MARGIN_MM][:, z]] == side).any() for side in (1, 2)]
        assert (z in windows) == any(close)
        if not any(close):
            continue
        near = np.concatenate(
            [
                np.argwhere(lungs.hu[reached[ALONG_MM][:, z] if here else slice(None)] == side)[:, 1:]
                for side, here in zip((1, 2), close, strict=True)
            ]
        )
        for axis, window in enumerate(windows[z]):
            step, origin = FINE.spacing_mm_zyx[1 + axis], lungs.grid.origin_lps_mm[1 - axis] - 1.5
            first = origin + near[:, axis].min() * 3.0 - MARGIN_MM - (FINE.origin_lps_mm[1 - axis] - step / 2)
            last = origin + (near[:, axis].max() + 1) * 3.0 + MARGIN_MM - (FINE.origin_lps_mm[1 - axis] - step / 2)
            size = FINE.shape_zyx[1 + axis]
            assert max(first / step, 0) - STEP_PX - 2 < window.start <= max(first / step, 0) + 1
            assert min(last / step, size) - 1 <= window.stop < last / step + STEP_PX + 2
    assert 0 < len(windows) < FINE.shape_zyx[0]


def test_a_lobe_that_is_solid_lies_in_the_window() -> None:
    """Below slice 30 the right lung holds no air but crumbs; the left one goes on to slice 10."""
    tall, fine = (60, 40, 50), dataclasses.replace(FINE, shape_zyx=(128, 190, 230))
    whole, part = (
        labels((1, (slice(first, 50), *RIGHT[1:])), (2, (slice(10, 50), *LEFT[1:])), shape=tall) for first in (10, 30)
    )
    part.hu[29, 10:12, 15:17] = 1
    windows = [lung_windows(one, fine) for one in (whole, part)]
    assert windows[0] is not None
    assert windows[0] == windows[1]


def test_coarse_slices_have_no_holes_between_them() -> None:
    hu = np.zeros((5, 40, 50), np.uint8)
    hu[1:4, 7:27, 4:22], hu[1:4, 9:29, 26:45] = 1, 2
    lungs = Volume(hu, Grid(hu.shape, (24.0, 3.0, 3.0), (0.0, 0.0, 0.0)))
    windows = lung_windows(lungs, Grid((50, 170, 210), (2.4, 0.7, 0.7), (0.0, 0.0, 0.0)))
    assert windows is not None
    # The slabs of slices 1 to 3 are from 12 to 84 mm.
    assert list(windows) == [z for z in range(50) if 12 - MARGIN_MM <= 2.4 * z <= 84 + MARGIN_MM]


@pytest.mark.parametrize("sides", [((1, RIGHT),), ((1, RIGHT), (2, (slice(8, 11), *LEFT[1:]))), ()])
def test_a_mask_without_one_of_the_lungs_is_not_trusted(sides: tuple[tuple[int, tuple[slice, ...]], ...]) -> None:
    assert lung_windows(labels(*sides), FINE) is None


def test_a_lung_of_less_than_a_fifth_of_the_other_is_not_trusted() -> None:
    large = (slice(0, 30), slice(0, 40), slice(20, 50))  # 972 ml, the others 123 and 246
    for rows, trusted in ((19, False), (38, True)):
        lungs = labels((1, (slice(0, 15), slice(0, rows), slice(0, 16))), (2, large))
        assert (lungs.hu == 1).sum() * 0.027 > LEAST_LUNG_ML
        assert (lung_windows(lungs, FINE) is not None) == trusted


def test_lungs_of_a_few_ml_are_not_trusted() -> None:
    small = (slice(8, 12), slice(11, 21), slice(26, 36)), (slice(8, 12), slice(11, 21), slice(6, 16))
    assert lung_windows(labels((1, small[1]), (2, small[0])), FINE) is None


@pytest.mark.real
def test_windows_of_real_scans_hold_the_lungs_that_others_drew(real_data: Path) -> None:
    trusted = []
    for name, (scan, labels_drawn) in real_lungs(real_data).items():
        windows = lung_windows(lungs_of_planes(axial(Planes(scan.grid, scan.hu.__getitem__))), scan.grid)
        if windows is None:
            continue
        trusted.append(name)
        for z, drawn in enumerate(labels_drawn > 0):
            if drawn.any():
                y, x = windows[z]
                assert drawn[y, x].sum() == drawn.sum(), (name, z)
    assert trusted == ["ACIL"], "the others show one lung, and the lungs' lowest few slices"


@pytest.mark.real
def test_a_real_mass_at_the_pleura_lies_in_the_window(real_data: Path) -> None:
    scan = read_source(real_data / "cptac_C3N-00247_dicom").scans[0]
    with scan_planes(scan) as planes:
        view = axial(planes)
        windows = lung_windows(lungs_of_planes(view), view.grid)
    assert windows is not None
    area = np.mean([(y.stop - y.start) * (x.stop - x.start) for y, x in windows.values()]) / 512**2
    assert area < 0.8
    boxes = {31: (88, 151, 125, 190), 32: (90, 155, 128, 192), 33: (97, 155, 125, 185), 34: (100, 159, 119, 178)}
    for z, (x1, y1, x2, y2) in boxes.items():  # read by eye, of the slices sorted from the feet up
        y, x = windows[z]
        assert y.start <= y1 < y2 <= y.stop
        assert x.start <= x1 < x2 <= x.stop
