"""The window of a slice that is searched: all of the body, little of the rest."""

from __future__ import annotations

import numpy as np
import pytest

from lungct.inference.body import MARGIN_MM, STEP_PX, body_window, in_slice
from lungct.types import Detections

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
