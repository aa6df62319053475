"""``summary.json``: means with intervals, strata, tests between methods, the detector's own errors, and the note."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from lungct import registry
from lungct.evaluation.paired import holm
from lungct.game.averages import averages, keys_of, number, strata
from lungct.game.note import note_of
from lungct.game.options import GameOptions
from lungct.game.ranks import RankTest, rank_test
from lungct.game.row import Row
from lungct.game.statistics import needed_patients, paired_tests, patient_means
from lungct.io.coco import CocoImage, CocoTruth
from lungct.types import FloatArray

SCHEMA = "lungct.game/2"


def summarise(
    rows: Sequence[Row],
    options: GameOptions,
    truth: CocoTruth | None = None,
    left_out: Sequence[str] = (),
    *,
    images: Sequence[CocoImage] = (),
    detected: Collection[str] = (),
) -> dict[str, Any]:
    """Everything that the rows say.

    Args:
        left_out: controls that could not be made.
        images: of the truth, those that there could be maps of.
        detected: methods whose maps are known to be of a detector's boxes; those with a false positive are, too.

    Means and tests are of true positives alone; false positives and missed nodules are strata. The tests compare
    normalised values, whose unit does not depend on the nodule's size, and the values themselves of measures without a
    chance level; controls are not tested against each other, and the true mask against nothing.
    """
    found = [row for row in rows if row.stratum == "TP"]
    patients = len({row.patient_id for row in found})
    lines = averages(found, options.bootstrap, options.seed, keys_of(rows))
    rules = list(dict.fromkeys(str(line["rule"]) for line in lines))
    of_rule = {rule: [row for row in found if row.rule == rule] for rule in rules}
    compared = [rule for rule in rules if rule not in registry.MAP_MEASURES]
    tests = [test for rule in compared for test in _tests(of_rule[rule], rule)]
    ranks = [one for rule in compared if (one := _ranks(of_rule[rule], rule)) is not None]
    for one, p_holm in zip(ranks, holm([one["p"] for one in ranks]), strict=True):
        one["p_holm"] = p_holm
    summary = {
        "schema": SCHEMA,
        "patients": patients,
        "detections": len({(str(row.image_id), str(row.annotation_id)) for row in found}),
        "false_positives": len({(str(row.image_id), row.detection) for row in rows if row.stratum == "FP"}),
        "detector": _detector(rows, truth, detected),
        "without_a_map": _without_a_map(rows, truth, images),
        "version": options.rules,
        "shape": options.shape,
        "thresholds": dict(options.thresholds),
        "rows": lines,
        "strata": strata(rows, options.bootstrap, options.seed),
        "tests": tests,
        "friedman": ranks,
        "needed_patients": needed_patients(max((len(list(g)) for _, g in _by_rule(tests)), default=0)),
    }
    return {**summary, "note": note_of(summary, left_out)}


def _by_rule(tests: Sequence[Mapping[str, Any]]) -> Any:
    return itertools.groupby(tests, key=lambda test: test["rule"])


def _without_a_map(rows: Sequence[Row], truth: CocoTruth | None, images: Sequence[CocoImage]) -> dict[str, int]:
    """How many of the images, and of their true boxes, no row is of."""
    mapped = {(str(row.image_id), str(row.annotation_id)) for row in rows}
    there = {image for image, _ in mapped}
    own = [] if truth is None else [one for image in images for one in truth.annotations_of[image.id]]
    boxes = [(str(one.image_id), str(one.id)) for one in own if not one.iscrowd]
    return {
        "images": sum(str(image.id) not in there for image in images),
        "of_images": len(images),
        "true_boxes": sum(box not in mapped for box in boxes),
        "of_true_boxes": len(boxes),
    }


def _detector(rows: Sequence[Row], truth: CocoTruth | None, detected: Collection[str]) -> dict[str, int | None]:
    """What the detector itself got right and wrong on the images that have maps, whatever its maps look like.

    Maps of the true boxes say nothing of a detector: None where there are no others.
    """
    known = {*detected, *(row.method for row in rows if row.stratum == "FP")}
    none = dict.fromkeys(("found", "false_positives", "missed", "missed_with_a_map"))
    rows = [row for row in rows if row.method in known]
    images = {str(row.image_id) for row in rows}
    true_boxes = (
        0 if truth is None else sum(not one.iscrowd and str(one.image_id) in images for one in truth.annotations)
    )
    found = {(str(row.image_id), str(row.annotation_id)) for row in rows if row.stratum == "TP"}
    false = {(str(row.image_id), row.detection) for row in rows if row.stratum == "FP"}
    missed = {(str(row.image_id), str(row.annotation_id)) for row in rows if row.stratum == "FN"}
    if not rows:
        return {"images": 0, "true_boxes": 0, **none}
    return {
        "images": len(images),
        "true_boxes": true_boxes,
        "found": len(found),
        "false_positives": len(false),
        "missed": max(true_boxes - len(found), len(missed)),
        "missed_with_a_map": len(missed),
    }


def _pivot(rows: Sequence[Row]) -> tuple[FloatArray, list[str], list[str]]:
    """(N, M) normalised scores, or values, of N true boxes by M methods, the methods, and the N patients."""
    rows = [row for row in rows if row.method != registry.UPPER_BOUND]
    methods = list(dict.fromkeys(row.method for row in rows))
    boxes = {key: place for place, key in enumerate(dict.fromkeys((row.image_id, row.annotation_id) for row in rows))}
    values = np.full((len(boxes), len(methods)), np.nan)
    patients = [""] * len(boxes)
    for row in rows:
        place = boxes[row.image_id, row.annotation_id]
        unscaled = row.rule not in registry.RULES
        values[place, methods.index(row.method)] = row.value if unscaled else row.normalised
        patients[place] = row.patient_id
    return values, methods, patients


def _tests(rows: Sequence[Row], rule: str) -> list[dict[str, Any]]:
    """Paired tests of one rule, on true boxes that both methods of a pair explained."""
    values, methods, patients = _pivot(rows)
    pairs = [(a, b) for a, b in itertools.combinations(methods, 2) if not {a, b} <= set(registry.CONTROLS)]
    return [
        {
            "rule": rule,
            "a": test.a,
            "b": test.b,
            "difference": number(test.difference),
            "rank_biserial": number(test.rank_biserial),
            "p": test.p,
            "p_holm": test.p_holm,
            "patients": test.patients,
        }
        for test in paired_tests(values, methods, patients, pairs)
    ]


def _ranks(rows: Sequence[Row], rule: str) -> dict[str, Any] | None:
    """Friedman's test of one rule, on true boxes that every method explained."""
    values, methods, patients = _pivot(rows)
    values = values * (-1 if rule in registry.LESS_IS_BETTER else 1)
    kept = np.flatnonzero(np.isfinite(values).all(axis=1))
    if not len(kept):
        return None
    of_patient = patient_means(values[kept], [patients[place] for place in kept])
    found = rank_test(of_patient, methods)
    return None if found is None else _json_of(found, rule)


def _json_of(test: RankTest, rule: str) -> dict[str, Any]:
    return {
        "rule": rule,
        "mean_ranks": {name: number(rank) for name, rank in test.mean_ranks.items()},
        "chi2": number(test.statistic),
        "p": test.p,
        "kendall_w": number(test.kendall_w),
        "critical_difference": number(test.critical_difference),
        "groups": [list(group) for group in test.groups],
        "patients": test.patients,
    }
