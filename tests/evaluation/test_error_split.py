"""The kinds of error on hand-placed boxes, and counts and dAP that the authors' own program gave."""

from __future__ import annotations

import numpy as np
import pytest

from lungct.evaluation.error_split import KINDS, error_costs, split_errors
from lungct.evaluation.pairs import pair_up
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth
from lungct.types import Detections

from .random_pairs import three_classes

# tidecv 1.0.1, box mode, on three_classes(1): errors by main kind, dAP in percent.
TIDECV = {
    "classification": (13, 7.206147002751237),
    "localisation": (19, 5.804598886976521),
    "both": (5, 1.779213014367457),
    "duplicate": (17, 1.0932860026923947),
    "background": (46, 4.875711562866783),
    "missed": (17, 12.8833610841297),
}
TIDECV_SPECIAL = {"false_positive": 32.41951073042833, "false_negative": 19.235626903252776}


def test_equals_the_authors_program() -> None:
    pairs = pair_up(*three_classes(1))
    costs = error_costs(pairs, split_errors(pairs))
    for kind, (count, dap) in TIDECV.items():
        assert costs[kind]["n"] == count, kind
        assert 100 * costs[kind]["dap"] == pytest.approx(dap, abs=1e-9), kind
    for kind, dap in TIDECV_SPECIAL.items():
        assert 100 * costs[kind]["dap"] == pytest.approx(dap, abs=1e-9), kind


def test_every_kind_once() -> None:
    """A box of each class at (0,0,10,10) and (50,50,60,60), a crowd, and a third box that nothing comes near."""
    boxes = [(0, 0, 10, 10), (50, 50, 60, 60), (80, 80, 90, 90), (20, 80, 40, 99)]
    annotations = [
        CocoAnnotation(k + 1, 1, label, box, int(k == 3))
        for k, (box, label) in enumerate(zip(boxes, (1, 2, 1, 1), strict=True))
    ]
    truth = CocoTruth({1: "a", 2: "b"}, [CocoImage(1, "", 100, 100)], annotations)
    marks = {
        "hit": ((0, 0, 10, 10), 1, 0.9),
        "duplicate": ((0, 0, 10, 9), 1, 0.8),
        "classification": ((50, 50, 60, 60), 1, 0.7),
        "localisation": ((50, 56, 60, 66), 2, 0.6),
        "both": ((50, 56, 60, 66), 1, 0.5),
        "background": ((70, 0, 75, 5), 1, 0.4),
        "crowd": ((22, 82, 30, 90), 1, 0.3),
    }
    found = [np.array(column) for column in zip(*marks.values(), strict=True)]
    pairs = pair_up(truth, [Detections(1, found[0].astype(float), found[2], found[1])])
    errors = split_errors(pairs)
    names = dict(zip(pairs.score.tolist(), range(len(pairs.score)), strict=True))
    for name, (_, _, score) in marks.items():
        kinds = [kind for kind in KINDS[:5] if errors.kind[kind][names[score]]]
        assert kinds == ([name] if name in KINDS else []), name
    assert errors.missed.tolist() == [False, False, True, False], "the second would be won by the first two errors"
    assert errors.untaken.tolist() == [False, True, True, False]
    # The classification error is the better one on the second box, so it wins it and localisation is struck out.
    costs = error_costs(pairs, errors)
    assert costs["classification"]["dap"] == pytest.approx(0.5)
    assert costs["localisation"]["dap"] == 0
    assert costs["false_negative"]["n"] == 2


def test_nothing_found_misses_everything() -> None:
    truth, _ = three_classes(1)
    pairs = pair_up(truth, [])
    costs = error_costs(pairs, split_errors(pairs))
    assert costs["missed"]["n"] == len(truth.annotations)
    assert all(one["dap"] == 0 for one in costs.values())
