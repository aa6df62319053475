"""Heat volumes: interpolation between slices, and the way back to the scan's own grid."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lungct.ct.geometry import cropped, resampled_grid, to_canonical
from lungct.explain.volume import ExplainedNodule, Placing, fused, labelled
from lungct.types import Grid, Volume

STRAIGHT = Grid((10, 8, 6), (2.0, 1.0, 1.0), (0.0, 0.0, 0.0))
BOX = (2.0, 3.0, 4.0, 5.0)


def nodule(*slices: int, value: float = 1.0, box: tuple[float, ...] = BOX) -> ExplainedNodule:
    """Constant maps, the i-th of them ``value`` / (i + 1)."""
    maps = [np.full((8, 6), value / (number + 1), np.float32) for number in range(len(slices))]
    return ExplainedNodule(slices, maps, np.tile(np.array(box), (len(slices), 1)))


def along_z(volume: NDArray[np.float32]) -> list[float]:
    return [round(float(one), 4) for one in volume[:, 4, 3]]


def test_heat_is_linear_between_explained_slices_and_nowhere_else() -> None:
    heat = Placing.of(STRAIGHT, STRAIGHT).heat(nodule(3, 5))
    assert along_z(heat) == [0, 0, 0, 1, 0.75, 0.5, 0, 0, 0, 0]
    assert heat[3].min() == 1


def test_outermost_slices_hold_for_half_the_coarser_slice_distance() -> None:
    fine = resampled_grid(STRAIGHT, (0.5, 1.0, 1.0))  # four to a slice, none at its middle
    heat = Placing.of(STRAIGHT, fine).heat(nodule(3))
    assert np.flatnonzero(along_z(heat)).tolist() == [12, 13, 14, 15]
    coarse = resampled_grid(STRAIGHT, (5.0, 1.0, 1.0))
    heat = Placing.of(STRAIGHT, coarse).heat(nodule(3))
    assert np.flatnonzero(along_z(heat)).tolist() == [1], "one slice of a coarser scan is reached, and not by chance"


def test_nodules_are_fused_by_their_maximum_and_labelled_by_rank() -> None:
    placing = Placing.of(STRAIGHT, STRAIGHT)
    both = [nodule(3, 4, value=0.5), nodule(4, 5, value=0.8, box=(3, 3, 6, 6))]
    assert along_z(fused(placing, both)) == pytest.approx([0, 0, 0, 0.5, 0.8, 0.4, 0, 0, 0, 0], abs=1e-4)
    labels = labelled(placing, both)
    assert labels.dtype == np.uint8
    assert labels[4, 3:6, 2:6].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [0, 2, 2, 2]]
    assert not labels[2].any()
    assert labels[3].max() == 1


def test_a_box_between_voxel_centres_keeps_a_voxel() -> None:
    labels = labelled(Placing.of(STRAIGHT, STRAIGHT), [nodule(3, box=(2.6, 3.6, 3.4, 4.4))])
    assert np.argwhere(labels).tolist() == [[3, 3, 2]] or labels.sum() == 1


def test_beyond_a_crop_there_is_no_heat() -> None:
    whole = Volume(np.zeros(STRAIGHT.shape_zyx, np.int16), STRAIGHT)
    part = cropped(whole, [slice(2, 8), slice(1, 7), slice(2, 5)]).grid
    maps = [np.ones(part.shape_zyx[1:], np.float32)]
    heat = Placing.of(part, STRAIGHT).heat(ExplainedNodule((1,), maps, np.array([[0.0, 0.0, 1.0, 1.0]])))
    assert np.flatnonzero(heat[3].any(axis=1)).tolist() == [1, 2, 3, 4, 5, 6]
    assert np.flatnonzero(heat[3].any(axis=0)).tolist() == [2, 3, 4]
    assert not heat[[2, 4]].any()


def turned(order: tuple[int, int, int], signs: tuple[int, int, int], angle: float) -> Grid:
    """An oblique grid whose index axes are permuted and flipped."""
    c, s = np.cos(angle), np.sin(angle)
    tilt = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    direction = tilt[:, list(order)] * np.array(signs)
    return Grid((24, 26, 28), (0.9, 1.1, 1.3), (-20.0, 15.0, 70.0), tuple(direction.ravel().tolist()))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1), (-1, -1, -1)])
@pytest.mark.parametrize("angle", [0.0, 0.2])
def test_a_bump_comes_back_to_its_place_in_the_world(
    order: tuple[int, int, int], signs: tuple[int, int, int], angle: float
) -> None:
    scan = turned(order, signs, angle)
    canonical = to_canonical(Volume(np.zeros(scan.shape_zyx, np.int16), scan))
    grid = resampled_grid(canonical.grid, (1.0, 0.7, 0.8))
    grid = cropped(Volume(np.zeros(grid.shape_zyx, np.int16), grid), [slice(3, -2), slice(4, -3), slice(5, -1)]).grid
    middle = (np.array(grid.shape_zyx) - 1) / 2 + (1.3, -2.2, 3.1)
    y, x = np.mgrid[: grid.shape_zyx[1], : grid.shape_zyx[2]]
    slices = range(int(middle[0]) - 2, int(middle[0]) + 4)
    maps = [
        np.exp(-((y - middle[1]) ** 2 + (x - middle[2]) ** 2) / 18 - (z - middle[0]) ** 2 / 8).astype(np.float32)
        for z in slices
    ]
    box = np.tile([middle[2] - 2, middle[1] - 2, middle[2] + 3, middle[1] + 3], (len(maps), 1))
    explained = ExplainedNodule(tuple(slices), maps, box)
    placing = Placing.of(grid, scan)
    heat = placing.heat(explained)
    assert heat.shape == scan.shape_zyx
    peak_xyz = np.array(np.unravel_index(heat.argmax(), heat.shape))[::-1]
    wanted_xyz = scan.to_index(grid.to_world(middle[::-1]))
    assert np.abs(peak_xyz - wanted_xyz).max() <= 1
    marked = np.argwhere(labelled(placing, [explained]))[:, ::-1]
    assert np.abs(marked.mean(axis=0) - wanted_xyz).max() <= 1


def test_a_turned_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="different directions"):
        Placing.of(STRAIGHT, turned((0, 1, 2), (1, 1, 1), 0.2))
