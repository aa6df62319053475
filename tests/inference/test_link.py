"""Linking of hand-made slice detections, and the world centres of what comes out."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from lungct.inference.found_csv import COLUMNS, in_words, row_of, write_found
from lungct.inference.link import LinkOptions, link, overlaps
from lungct.io.calibration import Calibration
from lungct.types import Detections, Grid

GRID = Grid((40, 64, 64), (1.25, 0.7, 0.7), (-20.0, -30.0, 100.0))
OBLIQUE = (0.9848, -0.1736, 0.0, 0.1736, 0.9848, 0.0, 0.0, 0.0, 1.0)


def square(x: float, y: float, side: float = 8.0) -> tuple[float, float, float, float]:
    return x - side / 2, y - side / 2, x + side / 2, y + side / 2


def on(z: int, *boxes: tuple[float, ...], scores: tuple[float, ...] | None = None, label: int = 1) -> Detections:
    values = np.array(scores or [0.5] * len(boxes), np.float32)
    return Detections(z, np.array(boxes, np.float32).reshape(-1, 4), values, np.full(len(boxes), label))


def spans(found: list[tuple[int, ...]]) -> list[tuple[int, int]]:
    return sorted((slices[0], slices[-1]) for slices in found)


def test_one_nodule_remembers_slices_scores_and_box() -> None:
    marks = {z: on(z, square(30 + z, 20), scores=(score,)) for z, score in ((5, 0.2), (6, 0.8), (7, 0.5))}
    (nodule,) = link(marks, GRID, case_id="a")
    assert nodule.slices == (5, 6, 7)
    assert nodule.score == pytest.approx(0.8)
    assert nodule.score_mean == pytest.approx(1.5 / 3)
    assert nodule.score_fused == pytest.approx(1.5 / 3)
    assert nodule.slice_scores == pytest.approx((0.2, 0.8, 0.5))
    # Slice 5 has less than half of the best score, and says nothing about the place.
    x = (36 * 0.8 + 37 * 0.5) / 1.3
    assert nodule.box_xyxy_px == pytest.approx(square(x, 20))
    z = (6 * 0.8 + 7 * 0.5) / 1.3
    assert nodule.center_lps_mm == pytest.approx((-20 + 0.7 * (x - 0.5), -30 + 0.7 * 19.5, 100 + 1.25 * z))
    assert nodule.size_mm == pytest.approx((5.6, 5.6, 2.5))
    assert nodule.ends_z_px == (6, 8)


def test_a_missed_slice_counts_against_the_fused_score() -> None:
    marks = {z: on(z, square(30, 20), scores=(score,)) for z, score in ((5, 0.2), (6, 0.8), (8, 0.5))}
    (nodule,) = link(marks, GRID)
    assert (nodule.score, nodule.score_mean, nodule.score_fused) == pytest.approx((0.8, 0.5, 1.5 / 4))
    assert [nodule.by(name) for name in ("peak", "mean", "fused")] == pytest.approx([0.8, 0.5, 0.375])


def test_the_fused_box_and_score_are_those_of_weighted_box_fusion_of_the_slices() -> None:
    fuse = pytest.importorskip("lungct.inference.fuse")
    random = np.random.default_rng(0)
    boxes, scores = (
        np.array([square(30 + random.normal(), 20 + random.normal()) for _ in range(6)]),
        random.uniform(0.5, 1, 6),
    )
    slices = np.array([3, 4, 6, 7, 8, 9])
    marks = {z: on(z, tuple(boxes[row]), scores=(scores[row],)) for row, z in enumerate(slices.tolist())}
    (nodule,) = link(marks, GRID)
    fused = fuse.weighted_box_fusion(boxes, scores, np.ones(6, int), slices - 3, iou=0.1, weights=7)
    assert nodule.box_xyxy_px == pytest.approx(fused.boxes_xyxy[0], abs=1e-4)
    assert nodule.score_fused == pytest.approx(fused.scores[0])


def test_the_diameter_is_that_of_the_ball_whose_slices_are_boxed() -> None:
    radius_mm, center_mm = 9.0, 125.3
    marks = {}
    for z in range(40):
        across_mm = radius_mm**2 - (100 + 1.25 * z - center_mm) ** 2
        if across_mm > 0 and z != 20:  # a slice that is missed is put in between its neighbours
            marks[z] = on(z, square(30, 20, 2 * across_mm**0.5 / 0.7))
    (nodule,) = link(marks, GRID)
    assert nodule.diameter_mm == pytest.approx(2 * radius_mm, rel=0.01)


def test_calibration_maps_every_score_and_moves_nothing() -> None:
    (nodule,) = link({z: on(z, square(30, 20), scores=(0.2 * z,)) for z in (1, 2, 3)}, GRID)
    mapped = nodule.calibrated(Calibration("isotonic", scores=(0.0, 1.0), probabilities=(0.5, 1.0)))
    assert (mapped.score, mapped.score_mean, mapped.score_fused) == pytest.approx((0.8, 0.7, 0.7))
    assert mapped.slice_scores == pytest.approx((0.6, 0.7, 0.8))
    assert mapped.center_lps_mm == nodule.center_lps_mm


def test_three_hundred_on_every_slice_are_linked_one_by_one() -> None:
    places = [square(6 + 12 * column, 6 + 12 * row) for column in range(20) for row in range(15)]
    wide = Grid((40, 256, 256), (1.25, 0.7, 0.7), (-20.0, -30.0, 100.0))
    marks = {z: on(z, *places[z % 7 :], *places[: z % 7]) for z in range(5)}
    found = link(marks, wide)
    assert len(found) == 300
    assert all(one.slices == (0, 1, 2, 3, 4) for one in found)


def test_slices_in_words() -> None:
    assert in_words((3, 4, 5, 7, 9, 10)) == "3-5 7 9-10"
    assert in_words((8,)) == "8"


def test_same_place_at_another_height_is_another_nodule() -> None:
    marks = {z: on(z, square(30, 20)) for z in (3, 4, 5, 20, 21)}
    assert spans([one.slices for one in link(marks, GRID)]) == [(3, 5), (20, 21)]


def test_gap_in_mm() -> None:
    marks = {z: on(z, square(30, 20)) for z in (3, 4, 6, 7)}
    assert len(link(marks, GRID, LinkOptions(gap_mm=2.5))) == 1
    assert len(link(marks, GRID, LinkOptions(gap_mm=2.4))) == 2
    thick = Grid((40, 64, 64), (5.0, 0.7, 0.7), (0.0, 0.0, 0.0))
    assert spans([one.slices for one in link(marks, thick, LinkOptions(gap_mm=2.5))]) == [(3, 4), (6, 7)]


@pytest.mark.parametrize("by", ["ios", "iou"])
def test_two_that_cross_stay_two(by: str) -> None:
    pairs = {z: [square(20 + 2 * z, 20), square(44 - 2 * z, 24)] for z in range(12)}
    marks = {z: on(z, *(pair if z % 2 else pair[::-1])) for z, pair in pairs.items()}
    found = link(marks, GRID, LinkOptions(by=by, overlap=0.2))
    assert [one.slices for one in found] == [tuple(range(12))] * 2
    assert sorted(round(one.box_xyxy_px[1]) for one in found) == [16, 20]


def test_smaller_box_keeps_the_end_of_a_nodule() -> None:
    marks = {3: on(3, square(30, 20, 12)), 4: on(4, square(30, 20, 5))}
    assert len(link(marks, GRID, LinkOptions(by="ios", overlap=0.5))) == 1
    assert len(link(marks, GRID, LinkOptions(by="iou", overlap=0.5))) == 2


def test_categories_never_meet() -> None:
    assert len(link({3: on(3, square(30, 20)), 4: on(4, square(30, 20), label=2)}, GRID)) == 2


def test_nothing() -> None:
    assert link({}, GRID) == []
    assert link({4: on(4)}, GRID) == []


def test_overlaps() -> None:
    a, b = np.array([[0.0, 0, 10, 10]]), np.array([[5.0, 0, 15, 10], [2, 2, 4, 4], [20, 20, 30, 30], [3, 3, 3, 3]])
    assert overlaps(a, b, "iou")[0] == pytest.approx([1 / 3, 0.04, 0, 0])
    assert overlaps(a, b, "ios")[0] == pytest.approx([0.5, 1, 0, 0])


@pytest.mark.parametrize(
    "direction",
    [(1.0, 0, 0, 0, 1, 0, 0, 0, 1), (-1.0, 0, 0, 0, -1, 0, 0, 0, 1), OBLIQUE],
    ids=["lps", "ras", "oblique"],
)
def test_world_centre_is_what_simpleitk_says(direction: tuple[float, ...]) -> None:
    grid = Grid((30, 50, 60), (2.0, 0.6, 0.8), (12.5, -7.0, -300.0), tuple(map(float, direction)))
    marks = {z: on(z, (20.0, 10.0, 27.0, 15.0)) for z in (10, 11, 12)}
    (nodule,) = link(marks, grid)
    image = SimpleITK.Image(60, 50, 30, SimpleITK.sitkUInt8)
    image.SetSpacing(grid.spacing_mm_zyx[::-1])
    image.SetOrigin(grid.origin_lps_mm)
    image.SetDirection(grid.direction)
    # Pixels 20..26 and 10..14: their middle is the centre of voxel (23, 12, 11).
    assert nodule.center_lps_mm == pytest.approx(image.TransformIndexToPhysicalPoint((23, 12, 11)), abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_detection_is_in_one_nodule_and_order_does_not_matter(seed: int) -> None:
    random = np.random.default_rng(seed)
    marks = {}
    for z in random.permutation(12).tolist():
        corner = random.uniform(0, 30, (random.integers(0, 4), 2))
        boxes = np.concatenate([corner, corner + random.uniform(4, 12, corner.shape)], axis=1)
        scores = np.sort(random.random(len(boxes)))[::-1]
        marks[z] = Detections(z, boxes, scores, random.integers(1, 3, len(boxes)))
    found = link(marks, GRID)
    assert sum(len(one.slices) for one in found) == sum(len(one) for one in marks.values())
    assert all(len(set(one.slices)) == len(one.slices) for one in found)
    assert link(dict(sorted(marks.items())), GRID) == found
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_csv_is_a_luna16_submission(tmp_path: Path) -> None:
    found = link({z: on(z, square(30, 20), scores=(0.25,)) for z in (3, 4)}, GRID, case_id="1.2.3")
    write_found(tmp_path / "nodules.csv", [row_of(one, 1, {1: "nodule"}) for one in found])
    with open(tmp_path / "nodules.csv") as stream:
        reader = csv.DictReader(stream)
        (row,) = list(reader)
    assert tuple(reader.fieldnames or ()) == COLUMNS
    assert COLUMNS[:5] == ("seriesuid", "coordX", "coordY", "coordZ", "probability")
    assert (row["seriesuid"], row["probability"], row["slice_first"], row["slice_last"]) == ("1.2.3", "0.25", "3", "4")
    assert [float(row[name]) for name in COLUMNS[1:4]] == pytest.approx(found[0].center_lps_mm, abs=1e-4)


def test_the_core_ends_where_two_slices_in_a_row_score_less_than_half_of_the_best() -> None:
    scores = (0.6, 0.1, 0.2, 0.5, 0.9, 0.3, 0.8, 0.2)
    marks = {z: on(z, square(30 + (z == 3) * 4, 20), scores=(score,)) for z, score in enumerate(scores, 3)}
    (nodule,) = link(marks, GRID)
    assert nodule.slices == tuple(range(3, 11))
    assert nodule.ends_z_px == (6, 10)
    assert nodule.box_xyxy_px == pytest.approx(square(30, 20))
    z = (6 * 0.5 + 7 * 0.9 + 9 * 0.8) / 2.2
    assert nodule.center_lps_mm[2] == pytest.approx(100 + 1.25 * z)
