"""Boxes in one place, and what contradicts what."""

from __future__ import annotations

import numpy as np
import pytest

from lungct.audit.items import Marking
from lungct.audit.labels import boxes_agree, findings, iou

from .planted import box, image

BLANK = np.zeros((2, 2))


def test_iou_of_boxes_and_of_volumes() -> None:
    assert iou(box(0, 0), box(5, 0)) == pytest.approx(1 / 3)
    assert iou(box(0, 0), box(10, 0)) == 0
    one = Marking("", "nodule", None, None, (0, 0, 0), (2, 2, 2))
    other = Marking("", "nodule", None, None, (1, 1, 1), (3, 3, 3))
    assert iou(one, other) == pytest.approx(1 / 15)


def test_the_unknown_contradicts_nothing() -> None:
    known, unknown = box(0, 0, malignant=1, malignancy=4), box(0, 0)
    assert not known.contradicts(unknown)
    assert known.contradicts(box(0, 0, malignant=0))
    assert known.contradicts(box(0, 0, malignancy=3))
    assert unknown.contradicts(box(0, 0, label="other"))


def test_boxes_agree_one_to_one() -> None:
    assert boxes_agree([box(0, 0), box(50, 50)], [box(51, 50), box(0, 1)])
    assert not boxes_agree([box(0, 0), box(1, 0)], [box(0, 0), box(50, 50)])
    assert not boxes_agree([box(0, 0)], [])
    assert boxes_agree([], [])


def test_nodules_are_told_apart_by_scan_and_data_set() -> None:
    facts = {"nodule_id": "1"}
    items = [
        image("a/1", BLANK, case_id="a", markings=(box(0, 0, malignant=0, **facts),)),
        image("b/1", BLANK, case_id="b", markings=(box(0, 0, malignant=1, **facts),)),
        image("2/a/1", BLANK, data_set=2, case_id="a", markings=(box(0, 0, malignant=1, **facts),)),
    ]
    assert list(findings(items)) == []
    items.append(image("a/2", BLANK, case_id="a", markings=(box(0, 0, malignant=1, **facts),)))
    (found,) = findings(items)
    assert (found.kind, found.case, found.other) == ("nodule-conflict", "a/2", "a/1")
    assert found.value == "nodule, malignant 1; nodule, malignant 0"
