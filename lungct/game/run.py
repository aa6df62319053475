"""The segmentation game from a folder of heatmaps to scores, statistics, tables and the figure."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lungct import registry
from lungct.game.play import FAILED, OK, Row, map_files, play
from lungct.game.statistics import (
    FEWEST_PATIENTS,
    bootstrap_interval,
    mean_over_patients,
    paired_tests,
    patient_means,
)
from lungct.game.table import markdown, scores_csv
from lungct.io.atomic import check_replaceable, staged_folder, write_bytes, write_json
from lungct.io.coco import read_truth
from lungct.io.manifest import write_manifest
from lungct.report.figure import game_bars
from lungct.types import FloatArray, Progress, no_progress

logger = logging.getLogger("lungct")
SCHEMA = "lungct.game/1"
MEASURES = ("value", "chance", "ceiling", "normalised")


@dataclass(frozen=True)
class GameOptions:
    """How the game is played.

    Attributes:
        rules: ``repaired``, or ``thesis`` for the rules as they were published.
        controls: score the maps that explain nothing beside the methods.
        bootstrap: draws of the patient-clustered bootstrap.
        seed: of the bootstrap and of the random control.
    """

    rules: str = "repaired"
    controls: bool = True
    bootstrap: int = 2000
    seed: int = 0


def segmentation_game(
    heatmaps: Path,
    truth_path: Path,
    out: Path,
    options: GameOptions,
    *,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Write the ``game/`` folder and return its summary.

    Raises:
        InputError: maps and truth that cannot be read or do not fit each other.
        OutputExists: ``out`` is there and ``overwrite`` is false.
    """
    check_replaceable(out, overwrite=overwrite, command="segmentation-game")
    truth = read_truth(truth_path)
    rows, left_out = play(
        heatmaps, truth, version=options.rules, controls=options.controls, seed=options.seed, progress=progress
    )
    summary = summarise(rows, options, left_out)
    if not summary["detections"]:
        logger.warning("nothing to score: no map is of a detection that finds a true box")
    for status, count in Counter(row.status for row in rows if row.status.startswith(FAILED)).items():
        logger.warning("%d of %d scores %s", count, len(rows), status)
    with staged_folder(out, command="segmentation-game", overwrite=overwrite) as folder:
        write_bytes(folder / "scores.csv", scores_csv(rows), durable=False)
        write_json(folder / "summary.json", summary, indent=1)
        write_bytes(folder / "table.md", markdown(summary).encode(), durable=False)
        game_bars(folder / "game", summary["rows"])
        write_manifest(folder, "segmentation-game", dataclasses.asdict(options))
    return summary


def plan(heatmaps: Path, truth_path: Path, options: GameOptions) -> dict[str, Any]:
    """What would be scored, writing nothing.

    Raises:
        InputError: no maps, or no truth.
    """
    truth = read_truth(truth_path)
    return {
        "map_files": len(map_files(heatmaps)),
        "images": len(truth.images),
        "true_boxes": len(truth.annotations),
        "rules": list(registry.RULES),
        "controls": list(registry.CONTROLS) if options.controls else [],
    }


def summarise(rows: Sequence[Row], options: GameOptions, left_out: Sequence[str] = ()) -> dict[str, Any]:
    """``summary.json``: means over patients with intervals, paired tests, and what they do not mean.

    ``mean`` and ``ci95`` are of the raw value. The tests compare normalised values, whose size does not depend on the
    nodule's; controls are not tested against each other.
    """
    true_positives = [row for row in rows if row.stratum == "TP"]
    patients = sorted({row.patient_id for row in true_positives})
    keys = list(dict.fromkeys((row.method, row.rule) for row in rows))
    of_key = {key: [row for row in true_positives if (row.method, row.rule) == key] for key in keys}
    lines = [_line(method, rule, of_key[method, rule], options) for method, rule in keys]
    tests = [
        test for rule in registry.RULES for test in _tests([row for row in true_positives if row.rule == rule], rule)
    ]
    return {
        "schema": SCHEMA,
        "patients": len(patients),
        "detections": len({(str(row.image_id), str(row.annotation_id)) for row in true_positives}),
        "false_positives": len(
            {(str(row.image_id), row.detection) for row in rows if row.stratum == "FP" and row.method == rows[0].method}
        ),
        "version": options.rules,
        "rows": lines,
        "tests": tests,
        "note": note_of(lines, len(patients), left_out),
    }


def _line(method: str, rule: str, rows: Sequence[Row], options: GameOptions) -> dict[str, Any]:
    counted = [row for row in rows if math.isfinite(row.value)]
    values = np.array([[getattr(row, name) for name in MEASURES] for row in counted]).reshape(-1, len(MEASURES))
    of_patient = patient_means(values, [row.patient_id for row in counted])
    mean, chance, ceiling, normalised = (_number(one) for one in mean_over_patients(of_patient))
    intervals = bootstrap_interval(of_patient, options.bootstrap, options.seed)
    return {
        "method": method,
        "rule": rule,
        "n": len(counted),
        "patients": len(of_patient),
        "mean": mean,
        "ci95": _interval(intervals[0]),
        "chance": chance,
        "ceiling": ceiling,
        "normalised": normalised,
        "normalised_ci95": _interval(intervals[3]),
        "failed": sum(row.status != OK for row in rows),
    }


def _number(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None


def _interval(edges: FloatArray) -> list[float | None] | None:
    return [_number(edge) for edge in edges] if np.isfinite(edges).all() else None


def _tests(rows: Sequence[Row], rule: str) -> list[dict[str, Any]]:
    """Tests of one rule, on true boxes that both methods of a pair explained."""
    methods = list(dict.fromkeys(row.method for row in rows))
    boxes = {key: place for place, key in enumerate(dict.fromkeys((row.image_id, row.annotation_id) for row in rows))}
    values = np.full((len(boxes), len(methods)), np.nan)
    patients = [""] * len(boxes)
    for row in rows:
        place = boxes[row.image_id, row.annotation_id]
        values[place, methods.index(row.method)] = row.normalised
        patients[place] = row.patient_id
    pairs = [(a, b) for a, b in itertools.combinations(methods, 2) if not {a, b} <= set(registry.CONTROLS)]
    return [
        {
            "rule": rule,
            "a": test.a,
            "b": test.b,
            "difference": _number(test.difference),
            "p": test.p,
            "p_holm": test.p_holm,
            "patients": test.patients,
        }
        for test in paired_tests(values, methods, patients, pairs)
    ]


def note_of(lines: Sequence[Mapping[str, Any]], patients: int, left_out: Sequence[str]) -> str:
    """What the scores do not prove, in plain words."""
    text = (
        "A score says where a map is bright, not why the detector decided. The Gaussian control sits on the predicted "
        "box and never sees the network"
    )
    reached = {
        method: _mean_normalised(lines, method) for method in dict.fromkeys(str(line["method"]) for line in lines)
    }
    gaussian = reached.pop("gaussian", None)
    methods = {name: value for name, value in reached.items() if value is not None and name not in registry.CONTROLS}
    if gaussian is not None:
        text += f"; it covers {gaussian:.0%} of the way from chance to ceiling"
        if methods:
            best = max(methods, key=lambda name: methods[name])
            text += f", {best} {methods[best]:.0%} (mean over rules)"
    text += ". Judge a method by its faithfulness too."
    if left_out:
        text += f" No {', '.join(left_out)} control for images that are not lungct slices."
    if patients < FEWEST_PATIENTS:
        text += f" {patients} patient{'s' * (patients != 1)}: with under {FEWEST_PATIENTS} no test can reach p < .05."
    return text


def _mean_normalised(lines: Sequence[Mapping[str, Any]], method: str) -> float | None:
    found = [line["normalised"] for line in lines if line["method"] == method and line["normalised"] is not None]
    return sum(found) / len(found) if found else None
