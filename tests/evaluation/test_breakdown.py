"""Levels of attributes, and what is never a level."""

from __future__ import annotations

import numpy as np
import pytest

from lungct.evaluation.bootstrap import draw_patients
from lungct.evaluation.breakdown import between, breakdown, levels_of


@pytest.mark.parametrize(
    ("name", "values", "levels"),
    [
        ("diameter_mm", [3, 4.0, "7.5", None, 30], ["below 4", "4 to 6", "6 to 8", "unknown", "30 and more"]),
        ("malignant", [0, 1, 1, None], ["0", "1", "1", "unknown"]),
        ("texture", ["solid", " solid", "", "mixed"], ["solid", "solid", "unknown", "mixed"]),
        ("flag", [True, False], ["True", "False"]),
        ("alike", ["x", "x", None], []),
        ("many", [f"word {k}" for k in range(13)], []),
        ("rows", ["[1, 2]", "[3]"], []),
        ("nothing", [None, ""], []),
    ],
)
def test_levels(name: str, values: list[object], levels: list[str]) -> None:
    assert levels_of(name, values) == levels


def test_many_numbers_are_cut_at_their_quartiles() -> None:
    levels = levels_of("kvp", list(range(100)))
    assert {one: levels.count(one) for one in levels} == {
        "below 24.75": 25,
        "24.75 to 49.5": 25,
        "49.5 to 74.25": 25,
        "74.25 and more": 25,
    }


def test_ratings_of_readers() -> None:
    means = [1, 1.75, 2, 3.3333, 4, 4.25, 5, None]
    named = ["ground-glass"] * 2 + ["part-solid"] * 3 + ["solid"] * 2 + ["unknown"]
    assert levels_of("texture", means) == named
    assert levels_of("texture", ["solid", "part-solid", "", "solid"]) == ["solid", "part-solid", "unknown", "solid"]
    assert levels_of("texture", [None, ""]) == []
    many = [1 + k / 4 for k in range(17)]
    rounded = ["below 1.5", "1.5 to 2.5", "2.5 to 3.5", "3.5 to 4.5", "4.5 and more"]
    assert list(dict.fromkeys(levels_of("malignancy", many))) == rounded
    assert set(levels_of("malignancy", [1, 2, 3, 4, 5])) == {"1", "2", "3", "4", "5"}


def test_between() -> None:
    assert [between(one, (1, 2)) for one in (0.9, 1, 1.9, 2)] == ["below 1", "1 to 2", "1 to 2", "2 and more"]


@pytest.mark.parametrize("name", ["nodule_id", "patient-id", "SeriesInstanceUID", "file_name", "study date", "ID"])
def test_what_may_name_somebody_is_left_out(name: str) -> None:
    values = {name: ["a", "b"], "lobe": ["upper", "lower"]}
    rows = breakdown(values, np.array([0.9, -np.inf]), np.array([0, 1]), 0.5, [0.1], None)
    assert {one["attribute"] for one in rows} == {"lobe"}


def test_rows_by_hand() -> None:
    """Four boxes of three patients; at .5 one of two left ones is found, at the only rate both."""
    found = np.array([0.9, 0.3, -np.inf, 0.6])
    draws = draw_patients(["p", "q", "r"], 400, seed=1)
    rows = breakdown({"side": ["left", "left", "right", "right"]}, found, np.array([0, 1, 1, 2]), 0.5, [0.2], draws)
    left, right = rows
    assert [left[key] for key in ("level", "n", "patients", "sensitivity", "froc_mean")] == ["left", 2, 2, 0.5, 1]
    assert left["sensitivity_ci95"] == [0, 1]
    assert left["froc_mean_ci95"] == [1, 1]
    assert right["froc_mean"] == 0.5


def test_levels_in_order() -> None:
    values = {"diameter_mm": [31, 5, 3, 7, None, 10]}
    rows = breakdown(values, np.zeros(6), np.arange(6), 0.5, [0.5], None)
    assert [one["level"] for one in rows] == ["below 4", "4 to 6", "6 to 8", "8 to 15", "30 and more", "unknown"]
    assert rows[0]["sensitivity_ci95"] is None
