"""The LUNA16 rules against hand-placed marks, a slow second reading of them, and a published run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from lungct.errors import UsageError
from lungct.evaluation.froc import RATES, FrocCurve, curve_of
from lungct.evaluation.luna16 import (
    Criterion,
    Findings,
    box_iou,
    find_nodules,
    first_reached,
    grid_sensitivities,
    strongest,
    tally,
)

NOTHING = np.zeros(0, dtype=int)


def findings(*rows: tuple[int, float, float], score: tuple[float, ...] = ()) -> Findings:
    """Rows of (scan, x, diameter) on the x axis; y and z are 0."""
    table = np.asarray(rows, dtype=float).reshape(-1, 3)
    center = np.zeros((len(table), 3))
    center[:, 0] = table[:, 1]
    none = np.full((len(table), 3), np.nan)
    return Findings(table[:, 0].astype(int), center, table[:, 2], none, np.asarray(score or [np.nan] * len(table)))


def test_a_hit_is_strictly_inside_the_radius() -> None:
    nodules = findings((0, 0, 8), (1, 0, 8), (2, 0, -1), (3, 0, -1))
    marks = findings((0, 3.999, 0), (1, 4, 0), (2, 4.999, 0), (3, 5, 0), score=(0.9, 0.8, 0.7, 0.6))
    finds = find_nodules(nodules, marks, findings())
    assert finds.found_score.tolist() == [0.9, -np.inf, 0.7, -np.inf]
    assert finds.false.tolist() == [False, True, False, True]


def test_doubles_excluded_and_overlapping_nodules() -> None:
    nodules = findings((0, 0, 10), (0, 3, 10), (1, 50, 10))
    excluded = findings((0, 100, -1), (1, 50, 30), (2, 0, 4))
    marks = findings(
        (0, 1, 0),  # in both nodules of scan 0
        (0, -4, 0),  # a second hit on the first of them
        (0, 104, 0),  # on an excluded finding that was not measured
        (1, 52, 0),  # on a nodule and on an excluded finding: a hit
        (1, 62, 0),  # on the excluded finding alone
        (2, 3, 0),  # beside an excluded finding
        (1, 1, 0),  # where scan 0 has a nodule, but on scan 1
        score=(0.5, 0.9, 0.8, 0.7, 0.6, 0.4, 0.3),
    )
    finds = find_nodules(nodules, marks, excluded)
    assert finds.found_score.tolist() == [0.9, 0.5, 0.7]
    assert finds.ignored.tolist() == [False, False, True, False, True, False, False]
    assert finds.false.tolist() == [False, False, False, False, False, True, True]
    assert finds.doubles == 1
    counted = tally(nodules, marks, finds, scans=5)
    assert counted.curve.fp_per_image[-1] == 2 / 5, "a scan without nodule and mark counts"


def test_the_hundred_strongest_and_no_tie_with_the_next() -> None:
    score = [0.9, 0.8, 0.7, 0.7, 0.7]
    marks = findings(*((0, k, 0) for k in range(5)), (1, 0, 0), score=(*score, 0.1))
    assert strongest(marks, 5).score.tolist() == [*score, 0.1]
    assert strongest(marks, 3).score.tolist() == [0.9, 0.8, 0.1]
    assert strongest(marks, 2).score.tolist() == [0.9, 0.8, 0.1]
    assert strongest(findings()).score.tolist() == []


@pytest.mark.parametrize(
    ("criterion", "found"),
    [(Criterion(), 3), (Criterion("distance", 2), 1), (Criterion("iou", 0.3), 2), (Criterion("iou", 0.6), 1)],
)
def test_stricter_criteria(criterion: Criterion, found: int) -> None:
    """Nodules of 10 mm; marks of 10 mm 1 mm away (IoU 9/11), 4 mm away (3/7) and of 30 mm 3 mm away (1/27)."""
    nodules = findings((0, 0, 10), (1, 0, 10), (2, 0, 10))
    marks = findings((0, 1, 10), (1, 4, 10), (2, 3, 30), score=(0.9, 0.8, 0.7))
    assert np.isfinite(find_nodules(nodules, marks, findings(), criterion).found_score).sum() == found


def test_box_iou() -> None:
    a = np.array([[0, 0, 0, 2, 2, 2], [0, 0, 0, 1, 1, 1.0]])
    b = np.array([[1, 0, 0, 3, 2, 2], [1, 0, 0, 2, 1, 1.0]])
    assert box_iou(a, b).tolist() == pytest.approx([4 / 12, 0])


def slowly(nodules: Findings, marks: Findings, excluded: Findings, most: int) -> tuple[list[float], list[float], int]:
    """The rules again, mark by mark: sorted scores of finds and of false positives, and the doubles."""
    found, false, doubles = [], [], 0
    for scan in range(4):
        mine = [k for k in range(len(marks)) if marks.scan[k] == scan]
        falling = sorted((float(marks.score[k]) for k in mine), reverse=True)
        if len(mine) > most:
            mine = [k for k in mine if marks.score[k] > falling[most]]
        left = set(mine)
        for table, counts in ((nodules, True), (excluded, False)):
            for place in np.flatnonzero(table.scan == scan):
                diameter = 10.0 if table.diameter_mm[place] < 0 else table.diameter_mm[place]
                gaps = {k: ((marks.center_lps_mm[k] - table.center_lps_mm[place]) ** 2).sum() for k in mine}
                hits = [k for k in mine if gaps[k] < (diameter / 2) ** 2]
                left -= set(hits)
                if counts and hits:
                    found.append(max(float(marks.score[k]) for k in hits))
                    doubles += len(hits) - 1
        false += [float(marks.score[k]) for k in left]
    return sorted(found), sorted(false), doubles


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), most=st.sampled_from([2, 5, 100]))
def test_equals_a_slow_second_reading(seed: int, most: int) -> None:
    random = np.random.default_rng(seed)

    def some(count: int, diameters: tuple[float, ...]) -> Findings:
        scored = tuple((random.integers(0, 6, count) / 8).tolist())
        rows = [(int(random.integers(4)), float(random.integers(12)), float(random.choice(diameters))) for _ in scored]
        return findings(*rows, score=scored)

    nodules, excluded, marks = some(8, (4, 8)), some(4, (-1, 3)), some(int(random.integers(30)), (0,))
    kept = strongest(marks, most)
    finds = find_nodules(nodules, kept, excluded)
    found = finds.found_score[np.isfinite(finds.found_score)]
    ours = sorted(found.tolist()), sorted(kept.score[finds.false].tolist()), finds.doubles
    assert ours == slowly(nodules, marks, excluded, most)


def test_readings_of_a_rate_on_a_step() -> None:
    """At exactly 1/8 the curve rises from .2 to .6; between 1/8 and 1 it is one straight line to .8."""
    curve = FrocCurve(np.array([0, 0.125, 0.125, 1]), np.array([0, 0.2, 0.6, 0.8]), np.zeros(4))
    assert first_reached(curve, (0.125, 0.5625, 8)).tolist() == pytest.approx([0.2, 0.7, 0.8])
    assert [curve.at[0.125], curve.at[8]] == [0.6, 0.8]
    assert grid_sensitivities(curve, (0.125, 8)).tolist() == [0.6, 0.8]
    assert grid_sensitivities(curve, (0.25,))[0] == pytest.approx(0.6 + 0.2 / 7, abs=1e-4)
    nothing = curve_of(np.zeros(0), np.zeros(0), truths=3, images=2)
    assert first_reached(nothing).tolist() == grid_sensitivities(nothing).tolist() == [0] * 7


@pytest.mark.real
def test_published_run(real_data: Path) -> None:
    folder = real_data / "luna16_froc_yolov4"
    is_nodule, probability = np.loadtxt(folder / "froc_gt_prob_vectors_YOLOv4_80_all.csv", delimiter=",").T
    found = probability[(is_nodule == 1) & (probability >= 0)]
    false = probability[is_nodule == 0]
    assert (len(found), len(false), int((is_nodule == 1).sum()) - len(found)) == (1116, 10989, 70)
    curve = curve_of(found, false, truths=1186, images=888)
    assert grid_sensitivities(curve).mean() == pytest.approx(0.863767, abs=1e-6)
    assert first_reached(curve).mean() == pytest.approx(0.863647, abs=5e-7)
    # The published curve is a ROC curve without the points inside straight stretches, in units of nodules and scans.
    seen = probability >= 0
    fpr, tpr, _ = roc_curve(is_nodule[seen], probability[seen])
    published = np.loadtxt(folder / "froc_YOLOv4_80_all.txt", delimiter=",")
    assert np.allclose(published[:, 0], fpr * 10989 / 888, atol=1e-8, rtol=0)
    assert np.allclose(published[:, 1], tpr * 1116 / 1186, atol=1e-8, rtol=0)
    assert len(published) == 697
    counts = set(zip((curve.fp_per_image * 888).round(), (curve.sensitivity * 1186).round(), strict=True))
    corners = (published[:, :2] * (888, 1186)).round()
    assert set(map(tuple, corners.tolist())) <= counts
    assert np.allclose(corners / (888, 1186), published[:, :2], atol=1e-8, rtol=0)
    assert list(RATES) == [0.125, 0.25, 0.5, 1, 2, 4, 8]


@pytest.mark.parametrize(
    ("text", "criterion"),
    [
        ("radius", Criterion()),
        ("5mm", Criterion("distance", 5)),
        ("2.5 MM", Criterion("distance", 2.5)),
        ("iou0.3", Criterion("iou", 0.3)),
        ("IoU: .5", Criterion("iou", 0.5)),
    ],
)
def test_conditions_as_typed(text: str, criterion: Criterion) -> None:
    assert Criterion.parse(text) == criterion


@pytest.mark.parametrize("text", ["", "5", "0mm", "iou", "iou0", "iou1.1", "5cm", "iou.3mm", "-5mm"])
def test_conditions_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="is no condition of a hit: expected radius"):
        Criterion.parse(text)
