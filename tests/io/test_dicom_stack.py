"""Slices come into order, several volumes part, a tilted gantry is straightened, the rest is refused in one line."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lungct.errors import InputError
from lungct.io.dicom import VOLUME_TAGS, SliceHeader
from lungct.io.dicom_pixels import StoredPixels
from lungct.io.dicom_split import split_volumes
from lungct.io.dicom_stack import Stack, arrange
from lungct.io.dicom_voxels import read_stack
from lungct.registry import LONGEST_GAP_MM

SIZE_XY = (40, 36)
SPACING_XY = (1.1, 0.8)


def header(number: int, position: tuple[float, ...], **changes: Any) -> SliceHeader:
    plain = SliceHeader(
        path=Path(f"{number:04d}"),
        series_uid="1.2.3",
        sop_uid=f"1.2.3.{number}",
        patient_id="P",
        instance_number=number,
        position_lps_mm=position,
        orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        size_xy=SIZE_XY,
        spacing_mm_xy=SPACING_XY,
        pixels=StoredPixels(0, "<i2", 16, 15),
        volume_marks=("",) * len(VOLUME_TAGS),
    )
    return replace(plain, **changes)


def marks(**values: str) -> tuple[str, ...]:
    return tuple(values.get(name.split()[0], "") for name in VOLUME_TAGS.values())


def stack_of(heights: list[float], first: int = 0, **changes: Any) -> list[SliceHeader]:
    return [header(first + number, (-20.0, -30.0, z), **changes) for number, z in enumerate(heights)]


HEIGHTS = [2.5 * number for number in range(8)]


@given(st.permutations(range(len(HEIGHTS))))
def test_order_of_files_has_no_influence(order: list[int]) -> None:
    slices = stack_of(HEIGHTS)
    stack = arrange([slices[number] for number in order], "case")
    assert stack.slices == tuple(slices)
    assert stack.grid.spacing_mm_zyx == (2.5, 0.8, 1.1)
    assert stack.grid.origin_lps_mm == (-20.0, -30.0, 0.0)
    assert stack.shift_px_xy is None


def test_slices_along_any_axis_are_ordered_along_their_normal() -> None:
    coronal = [header(n, (0.0, float(n), 0.0), orientation=(1.0, 0, 0, 0, 0, -1.0)) for n in range(5)]
    grid = arrange(coronal, "case").grid
    assert grid.direction_matrix[:, 2].tolist() == [0, 1, 0]
    assert np.linalg.det(grid.direction_matrix) == pytest.approx(1)


@pytest.mark.parametrize("name", [name.split()[0] for name in VOLUME_TAGS.values()])
def test_volumes_under_one_uid_are_told_apart_by_a_tag(name: str) -> None:
    slices = stack_of(HEIGHTS, volume_marks=marks(**{name: "1"}))
    slices += stack_of(HEIGHTS, 100, volume_marks=marks(**{name: "2"}))
    random.Random(1).shuffle(slices)
    volumes = split_volumes(slices)
    assert [len(one) for _, one in volumes] == [8, 8]
    assert len({mark for mark, _ in volumes}) == 2
    for number, (_, one) in enumerate(volumes):
        assert {part.sop_uid for part in one} == {f"1.2.3.{n + 100 * number}" for n in range(8)}
        arrange(one, "case")


def test_acquisitions_that_follow_each_other_are_one_volume() -> None:
    slices = [replace(one, volume_marks=marks(acquisition=str(n))) for n, one in enumerate(stack_of(HEIGHTS))]
    assert split_volumes(slices) == [("", tuple(slices))]


def test_volumes_that_no_tag_tells_apart_are_refused() -> None:
    slices = stack_of(HEIGHTS) + stack_of(HEIGHTS, 100)
    ((mark, same),) = split_volumes(slices)
    assert mark == ""
    with pytest.raises(InputError, match="case: up to 2 slices at each position that no tag tells apart"):
        arrange(same, "case")


def test_a_series_copied_whole_is_one_volume(caplog: pytest.LogCaptureFixture) -> None:
    slices = stack_of(HEIGHTS)
    copies = [replace(one, path=Path("copy") / one.path) for one in slices]
    ((_, same),) = split_volumes(slices + copies)
    assert len(arrange(same, "case").slices) == 8
    assert "case: 8 slices at a position taken already are left out" in caplog.text


def test_a_few_slices_twice_keep_the_lower_instance_number() -> None:
    slices = stack_of(HEIGHTS)
    again = [header(200, (-20.0, -30.0, 5.0)), header(-3, (-20.0, -30.0, 7.5))]
    kept = arrange(slices + again, "case").slices
    assert [one.instance_number for one in kept] == [0, 1, 2, -3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("slices", "words"),
    [
        (stack_of(HEIGHTS[:1]), "only one slice"),
        (stack_of([5.0, 5.0]), "at one position"),
        (stack_of([*HEIGHTS[:3], *HEIGHTS[5:]]), "2 of 8 slices missing, the first after slice 3"),
        (stack_of([0.0, 2.5, 5.0, 7.1, 9.6]), "uneven slice spacing, 2.10 to 2.50 mm"),
        (stack_of([0.0, 2.5, 5.0, 9.1, 11.6]), "uneven slice spacing, 2.50 to 4.10 mm"),
        (stack_of([0.0, 2.5, 5.0, 6.2, 8.7]), "uneven slice spacing, 1.20 to 2.50 mm"),
        ([*stack_of(HEIGHTS), header(9, (0, 0, 20.0), size_xy=(40, 40))], "slices of 2 image sizes"),
        ([*stack_of(HEIGHTS), header(9, (0, 0, 20.0), spacing_mm_xy=(1.0, 0.8))], "slices of 2 pixel spacings"),
        ([*stack_of(HEIGHTS), header(9, (0, 0, 20.0), orientation=(0, 1.0, 0, 0, 0, -1.0))], "2 orientations"),
        (stack_of(HEIGHTS, orientation=(1.0, 0, 0, 1.0, 0, 0)), "no pair of unit vectors"),
        ([header(n, (-20.0, -30.0 + 3 * (n > 4), 2.5 * n)) for n in range(8)], "shift sideways unevenly, by up to 3.0"),
        ([header(n, (-20.0, -30.0 + 4 * n, 2.5 * n)) for n in range(8)], "sideways by 58 degrees"),
    ],
)
def test_what_is_no_volume_is_refused(slices: list[SliceHeader], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        arrange(slices, "case")
    assert str(caught.value).startswith("case: ")


def written(folder: Path, slices: list[SliceHeader], hu_of: Callable[[SliceHeader], NDArray[Any]]) -> list[SliceHeader]:
    """The headers with a file of raw int16 pixels for each."""
    for one in slices:
        (folder / one.path).write_bytes(hu_of(one).astype("<i2").tobytes())
    return [replace(one, path=folder / one.path) for one in slices]


@settings(max_examples=20, deadline=None)
@given(gone=st.sets(st.integers(1, 14), min_size=1, max_size=4), flip=st.booleans())
def test_gaps_are_filled_where_that_is_asked_for(
    tmp_path_factory: pytest.TempPathFactory, gone: set[int], flip: bool
) -> None:
    """A ramp along z comes out whole, whichever slices are missing; gaps of more than 10 mm are refused."""
    heights = [2.5 * number for number in range(16) if number not in gone]
    slices = stack_of(heights[::-1] if flip else heights)
    longest = max(np.diff(heights))
    with pytest.raises(InputError, match=f"{len(gone)} of 16 slices missing.*--missing-slices"):
        arrange(slices, "case")
    if longest > LONGEST_GAP_MM:
        with pytest.raises(InputError, match=f"the longest gap {longest:.1f} mm"):
            arrange(slices, "case", fill_gaps=True)
        return
    folder = tmp_path_factory.mktemp("gaps")
    slices = written(folder, slices, lambda one: np.full(SIZE_XY[::-1], -800 + 40 * one.position_lps_mm[2]))
    volume = read_stack(arrange(slices, "case", fill_gaps=True), "case")
    assert volume.filled_z == tuple(sorted(gone))
    assert volume.grid == arrange(stack_of([2.5 * number for number in range(16)]), "case").grid
    assert volume.hu[:, 3, 4].tolist() == [-800 + 100 * z for z in range(16)]


@pytest.mark.parametrize("gone", [(), (7,), (3, 4, 15)])
def test_gaps_of_a_tilted_stack_are_on_its_straight_grid(tmp_path: Path, gone: tuple[int, ...]) -> None:
    """What is straight up in the world stays so; a filled slice shows it where its neighbours do."""
    slices = [one for number, one in enumerate(tilted(20.0, 2.5, 1.0, "x")) if number not in gone]

    def bar(one: SliceHeader) -> NDArray[Any]:
        x = one.position_lps_mm[0] + np.arange(SIZE_XY[0]) * SPACING_XY[0]
        return np.tile(np.where(np.abs(x) < 4, 0, -1000), (SIZE_XY[1], 1))

    stack = arrange(written(tmp_path, slices, bar), "case", fill_gaps=True)
    assert (stack.gaps, stack.grid) == (gone, arrange(tilted(20.0, 2.5, 1.0, "x"), "case").grid)
    hu = read_stack(stack, "case").hu
    middle = hu.shape[1] // 2
    seen = {z: np.flatnonzero(plane[middle] > -500).tolist() for z, plane in enumerate(hu)}
    assert all(seen[z] == seen[0] for z in range(len(hu)))


def tilted(degrees: float, step_mm: float, flip: float, axis: str) -> list[SliceHeader]:
    """Slices of a gantry tilted about the patient's left-right axis, or swivelled about the front-back one; the table
    moves along z."""
    along, up = float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees)))
    orientation = (flip, 0.0, 0.0, 0.0, along, up) if axis == "x" else (flip * along, 0.0, up, 0.0, 1.0, 0.0)
    start = (-20.0 * flip, -12.0, 0.0)
    return [header(n, (start[0], start[1], n * step_mm), orientation=orientation) for n in range(24)]


@pytest.mark.parametrize("degrees", [-25.0, -3.0, 7.3, 20.0])
@pytest.mark.parametrize(("flip", "axis"), [(1.0, "x"), (-1.0, "x"), (1.0, "y")])
def test_a_tilted_gantry_keeps_every_point_where_it_is(
    tmp_path: Path, degrees: float, flip: float, axis: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A soft ball, drawn slice by slice from where each slice says it lies, is at its place on the straight grid."""
    center, radius = np.array([2.3 * flip, 3.9, 27.4]), 7.0
    slices = []
    for one in tilted(degrees, 2.5, flip, axis):
        row, column = np.array(one.orientation[:3]), np.array(one.orientation[3:])
        x, y = np.meshgrid(np.arange(SIZE_XY[0]) * SPACING_XY[0], np.arange(SIZE_XY[1]) * SPACING_XY[1])
        world = np.array(one.position_lps_mm) + x[..., None] * row + y[..., None] * column
        hu = -1000 + 1000 / (1 + np.exp(2 * (np.linalg.norm(world - center, axis=-1) - radius)))
        path = tmp_path / one.path
        path.write_bytes(np.rint(hu).astype("<i2").tobytes())
        slices.append(replace(one, path=path))
    with caplog.at_level("INFO", "lungct"):
        stack = arrange(slices, "case")
    assert f"gantry tilted by {abs(degrees):.1f} degrees" in caplog.text
    volume = read_stack(stack, "case")
    assert volume.hu.shape == stack.grid.shape_zyx
    direction = stack.grid.direction_matrix
    np.testing.assert_allclose(direction.T @ direction, np.eye(3), atol=1e-9)
    weight = volume.hu.astype(float) + 1000
    z, y, x = (np.average(axis, weights=weight) for axis in np.indices(weight.shape))
    off = np.linalg.norm(stack.grid.to_world((x, y, z)) - center)
    assert off < 0.05
    assert weight.sum() * np.prod(stack.grid.spacing_mm_zyx) == pytest.approx(1000 * 4 / 3 * np.pi * 7**3, rel=0.08)


def test_slices_that_wander_less_than_a_pixel_are_not_touched() -> None:
    slices = [header(n, (-20.0 + 0.01 * (n % 2), -30.0, 2.5 * n)) for n in range(8)]
    assert isinstance(arrange(slices, "case"), Stack)
    assert arrange(slices, "case").shift_px_xy is None


def test_fractions_of_hu_are_float32(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / str(number)).write_bytes(np.full(SIZE_XY, 3, "<i2").tobytes())
    pixels = StoredPixels(0, "<i2", 16, 15, 0.5, -10)
    slices = [header(n, (0, 0, float(n)), path=tmp_path / str(n)) for n in range(2)]
    assert read_stack(arrange(slices, "case"), "case").hu.dtype == np.int16
    mixed = [slices[0], replace(slices[1], pixels=pixels)]
    hu = read_stack(arrange(mixed, "case"), "case").hu
    assert hu.dtype == np.float32
    assert hu[:, 0, 0].tolist() == [3.0, -8.5]
    (tmp_path / "1").write_bytes(b"short")
    with pytest.raises(InputError, match=r"case: slice 2 of 2 cannot be read \(fewer pixels"):
        read_stack(arrange(slices, "case"), "case")
