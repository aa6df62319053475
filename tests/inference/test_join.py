"""Parts of one nodule that become one, and neighbours that stay two."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lungct.ct.geometry import resampled_grid
from lungct.inference.join import JoinOptions, joined
from lungct.inference.link import LinkOptions, chained, link
from lungct.inference.nodule import FoundNodule
from lungct.inference.searched import Searched, searched_slices
from lungct.types import Detections, Grid

GRID = Grid((60, 128, 128), (1.25, 0.7, 0.7), (-20.0, -30.0, 100.0))
EVERY = Searched.every(60)
Row = tuple[int, float, float, float, float]
"""z, centre x and y, side, score."""


def found(*rows: Row, join: JoinOptions | None = None, grid: Grid = GRID, label: int = 1) -> list[FoundNodule]:
    marks = {}
    for z in {row[0] for row in rows}:
        mine = sorted((row for row in rows if row[0] == z), key=lambda row: -row[4])
        boxes = np.array([(x - side / 2, y - side / 2, x + side / 2, y + side / 2) for _, x, y, side, _ in mine])
        labels = np.array([1] + [label] * (len(mine) - 1))
        marks[z] = Detections(z, boxes, np.array([row[4] for row in mine]), labels)
    return link(marks, grid, join=join or JoinOptions())


def test_a_small_mark_inside_a_nodule_is_part_of_it() -> None:
    large = [(z, 40.0, 40.0, 20.0, 0.9) for z in range(10, 20)]
    (nodule,) = found(*large, (14, 45.0, 38.0, 6.0, 0.3), (15, 45.0, 38.0, 6.0, 0.2))
    assert nodule.slices == tuple(range(10, 20))
    assert nodule.score == 0.9
    assert nodule.slice_scores == (0.9,) * 10
    assert nodule.members == (0,) * 10
    assert len(found(*large, (14, 45.0, 38.0, 6.0, 0.3), label=2)) == 2


def test_a_mark_in_the_mean_box_is_part_of_it_where_the_box_of_its_slice_came_out_small() -> None:
    large = [(z, 40.0, 40.0, 20.0, 0.9) for z in range(10, 20)]
    assert len(found(*large, (20, 45.0, 40.0, 8.0, 0.8), (20, 36.0, 40.0, 7.0, 0.7))) == 1
    assert len(found(*large, (20, 45.0, 40.0, 8.0, 0.8), (20, 28.0, 40.0, 7.0, 0.7))) == 2


def test_on_a_shared_slice_boxes_are_fused_by_their_scores_and_the_better_one_is_remembered() -> None:
    rows = [(10, 40.0, 40.0, 12.0, 0.6), (11, 40.0, 40.0, 12.0, 0.6), (11, 43.0, 40.0, 6.0, 0.9)]
    (nodule,) = found(*rows, (12, 43.0, 40.0, 6.0, 0.9))
    assert nodule.slices == (10, 11, 12)
    assert nodule.slice_scores == (0.6, 0.9, 0.9)
    assert nodule.members == (0, 0, 0)
    fused = np.array([34.0, (34 * 0.6 + 40 * 0.9) / 1.5, 40.0])
    assert nodule.box_xyxy_px[0] == pytest.approx(np.average(fused, weights=[0.6, 0.9, 0.9]))


def test_what_a_gap_cut_is_joined_again() -> None:
    ends = [(z, 40.0, 40.0, 10.0, 0.5) for z in (10, 11, 15, 16)]
    (nodule,) = found(*ends)
    assert (nodule.slices, nodule.score_fused) == ((10, 11, 15, 16), pytest.approx(4 * 0.5 / 7))
    assert len(found(*ends, join=JoinOptions(gap_mm=4.9))) == 2
    assert len(found(*[(z, 40.0, 40.0, 10.0, 0.5) for z in (10, 11, 16)])) == 2
    thick = Grid((60, 128, 128), (5.0, 0.7, 0.7), (0.0, 0.0, 0.0))
    assert len(found(*[(z, 40.0, 40.0, 10.0, 0.5) for z in (10, 11, 13)], grid=thick)) == 1
    assert len(found(*[(z, 40.0, 40.0, 10.0, 0.5) for z in (10, 11, 14)], grid=thick)) == 2


def test_what_lies_between_two_parts_joins_both() -> None:
    """Both ends score better than what lies between them, and are too far apart to be joined before it is."""
    (nodule,) = found(
        *[(z, 40.0, 40.0, 10.0, 0.9) for z in (10, 11)],
        (15, 40.0, 40.0, 10.0, 0.4),
        *[(z, 40.0, 40.0, 10.0, 0.8) for z in (19, 20)],
    )
    assert nodule.slices == (10, 11, 15, 19, 20)


def test_neighbours_stay_two() -> None:
    beside = [(z, x, 40.0, 10.0, 0.8) for z in range(10, 16) for x in (40.0, 46.0)]
    assert [one.slices for one in found(*beside)] == [tuple(range(10, 16))] * 2
    above = [(z, 40.0, 40.0, 10.0, 0.8) for z in (10, 11, 12, 20, 21)]
    assert [one.slices for one in found(*above)] == [(10, 11, 12), (20, 21)]


def test_no_overlap_wanted_joins_none() -> None:
    rows = [(z, 40.0, 40.0, side, score) for z in (10, 11) for side, score in ((20.0, 0.9), (5.0, 0.4))]
    assert len(found(*rows, join=JoinOptions(overlap=0))) == 2
    assert len(found(*rows)) == 1


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_joining_keeps_every_slice_and_best_score_and_leaves_nothing_to_join(seed: int) -> None:
    random = np.random.default_rng(seed)
    marks = {}
    for z in range(12):
        corner = random.uniform(0, 25, (random.integers(0, 5), 2))
        boxes = np.concatenate([corner, corner + random.uniform(3, 14, corner.shape)], axis=1)
        marks[z] = Detections(z, boxes, np.sort(random.random(len(boxes)))[::-1], random.integers(1, 3, len(boxes)))
    apart, together = link(marks, GRID), link(marks, GRID, join=JoinOptions())
    assert link(dict(reversed(marks.items())), GRID, join=JoinOptions()) == together
    assert len(together) <= len(apart)
    for label in (1, 2):
        before, after = (
            (
                {z for one in nodules if one.label == label for z in one.slices},
                max((one.score for one in nodules if one.label == label), default=0),
            )
            for nodules in (apart, together)
        )
        assert before == after
    chains = chained(marks, EVERY, GRID.spacing_mm_zyx[0], LinkOptions())
    once = joined(chains, EVERY, GRID.spacing_mm_zyx[0], JoinOptions())
    assert len(joined(once, EVERY, GRID.spacing_mm_zyx[0], JoinOptions())) == len(once) == len(together)
    for one in together:
        assert all(marks[z].scores[member] == score for z, member, score in _remembered(one))


def _remembered(nodule: FoundNodule) -> list[tuple[int, int, float]]:
    return list(zip(nodule.slices, nodule.members, nodule.slice_scores, strict=True))


def test_slabs_of_a_scan_that_is_coarser_than_the_grid() -> None:
    """Every second or third slice is searched: gaps, extents and the fused score are reckoned in these."""
    searched = Searched((1, 3, 6, 8, 11), np.array([0.5, 2.5, 5.0, 7.5, 10.0, 13.0]))
    boxes = {z: Detections(z, np.array([[30.0, 30, 40, 40]]), np.array([0.6]), np.array([1])) for z in (3, 6, 11)}
    (nodule,) = link(boxes, GRID, join=JoinOptions(), searched=searched)
    assert nodule.slices == (3, 6, 11)
    assert nodule.ends_z_px == (2.5, 13.0)
    assert nodule.size_mm[2] == pytest.approx(10.5 * 1.25)
    assert nodule.score_fused == pytest.approx(1.8 / 4)
    ellipses_mm3 = np.pi / 4 * 7.0**2 * 10.5 * 1.25
    assert nodule.diameter_mm == pytest.approx(np.cbrt(6 / np.pi * ellipses_mm3))
    assert nodule.center_lps_mm[2] == pytest.approx(100 + 1.25 * np.average([3, 6, 11], weights=[2.5, 2.5, 3.0]))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), own_mm=st.sampled_from([0.8, 1.25, 2.0, 3.0, 5.0]))
@example(seed=6829251, own_mm=2.0)
def test_perfect_slice_boxes_give_the_centre_to_half_a_voxel(seed: int, own_mm: float) -> None:
    """Of the scan or of the model's grid, whichever is coarser; along a coarse scan's z half a slice of the grid more.

    For what stands for a slice of the scan is the grid's nearest, which may show a nodule's end where its own does not.
    """
    random = np.random.default_rng(seed)
    turn = np.deg2rad(random.uniform(-20, 20))
    direction = (np.cos(turn), -np.sin(turn), 0.0, np.sin(turn), np.cos(turn), 0.0, 0.0, 0.0, 1.0)
    own = Grid((int(150 / own_mm), 200, 200), (own_mm, 0.7, 0.8), (-70.0, 12.0, -300.0), direction)
    grid = resampled_grid(own, (1.25, 0.703125, 0.703125))
    half_mm = random.uniform(max(3.0, own_mm), 15, 3)
    middle = random.uniform(0.3, 0.7, 3) * np.array(grid.shape_zyx[::-1])
    half = half_mm / np.array(grid.spacing_mm_zyx[::-1])
    searched = searched_slices(own, grid, "own")
    marks = {}
    for z in searched.z:
        reach = 1 - ((z - middle[2]) / half[2]) ** 2
        if reach > 0:
            across = half[:2] * np.sqrt(reach)
            box = np.concatenate([middle[:2] + 0.5 - across, middle[:2] + 0.5 + across])[None]
            marks[z] = Detections(z, box, np.array([0.9]), np.array([1]))
    (nodule,) = link(marks, grid, join=JoinOptions(), searched=searched)
    seen = own if own_mm > 1.25 else grid
    off = seen.to_index(nodule.center_lps_mm) - seen.to_index(tuple(grid.to_world(middle)))
    beside = 0.5 * grid.spacing_mm_zyx[0] / own_mm if own_mm > 1.25 else 0.0
    assert (np.abs(off) < (0.5, 0.5, 0.5 + beside)).all()
