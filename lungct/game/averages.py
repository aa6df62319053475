"""Rows of scores -> means over patients with intervals, of a whole game or of a stratum of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from lungct.evaluation.breakdown import levels_of
from lungct.game.row import FAILED, Row
from lungct.game.statistics import bootstrap_interval, mean_over_patients
from lungct.types import FloatArray, IntArray

MEASURES = ("value", "chance", "ceiling", "normalised")


def keys_of(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Every method and rule that occurs, in order."""
    return list(dict.fromkeys((row.method, row.rule) for row in rows))


def averages(
    rows: Sequence[Row], draws: int, seed: int, keys: Sequence[tuple[str, str]] | None = None
) -> list[dict[str, Any]]:
    """A line per method and rule: means of value, chance, ceiling and normalised score over patients.

    ``mean`` and ``ci95`` are of the raw value. A patient's score is the mean over their detections; all lines share
    the draws of patients. ``keys`` asks for lines of methods and rules of which there may be no row.
    """
    keys = keys_of(rows) if keys is None else keys
    if not keys:
        return []
    of_patient, counts = _by_patient(rows, keys)
    means = mean_over_patients(of_patient).reshape(len(MEASURES), len(keys))
    intervals = bootstrap_interval(of_patient, draws, seed).reshape(len(MEASURES), len(keys), 2)
    patients = np.isfinite(of_patient[:, : len(keys)]).sum(axis=0)
    failed = Counter((row.method, row.rule) for row in rows if row.status.startswith(FAILED))
    none = Counter((row.method, row.rule) for row in rows if row.status.startswith("none"))
    return [
        {
            "method": key[0],
            "rule": key[1],
            "n": int(counts[place]),
            "patients": int(patients[place]),
            "mean": number(means[0, place]),
            "ci95": interval(intervals[0, place]),
            "chance": number(means[1, place]),
            "ceiling": number(means[2, place]),
            "normalised": number(means[3, place]),
            "normalised_ci95": interval(intervals[3, place]),
            "failed": failed[key],
            "not_defined": none[key],
        }
        for place, key in enumerate(keys)
    ]


def _by_patient(rows: Sequence[Row], keys: Sequence[tuple[str, str]]) -> tuple[FloatArray, IntArray]:
    """(P, 4 K) means of each patient, measure by measure, and (K,) how many detections have a value."""
    place_of = {key: place for place, key in enumerate(keys)}
    names, patient = np.unique([row.patient_id for row in rows], return_inverse=True)
    column = np.array([place_of[row.method, row.rule] for row in rows], dtype=np.intp)
    values = np.array([[getattr(row, name) for name in MEASURES] for row in rows]).reshape(-1, len(MEASURES))
    counted = np.isfinite(values[:, 0])
    cell = patient * len(keys) + column
    means = []
    for measure in values.T:
        finite = counted & np.isfinite(measure)
        total = np.bincount(cell[finite], weights=measure[finite], minlength=len(names) * len(keys))
        count = np.bincount(cell[finite], minlength=len(names) * len(keys))
        mean = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
        means.append(mean.reshape(len(names), len(keys)))
    return np.hstack(means), np.bincount(column[counted], minlength=len(keys))


def patient_spread(rows: Sequence[Row]) -> dict[str, dict[str, FloatArray]]:
    """Rule -> method -> the finite normalised scores of the patients."""
    keys = keys_of(rows)
    if not keys:
        return {}
    of_patient, _ = _by_patient(rows, keys)
    normalised = of_patient[:, 3 * len(keys) :]
    spread: dict[str, dict[str, FloatArray]] = {}
    for (method, rule), column in zip(keys, normalised.T, strict=True):
        spread.setdefault(rule, {})[method] = column[np.isfinite(column)]
    return {rule: methods for rule, methods in spread.items() if any(len(one) for one in methods.values())}


def strata(rows: Sequence[Row], draws: int, seed: int) -> list[dict[str, Any]]:
    """The same by diameter and malignancy of the true positives, and by TP, FP and FN of all maps.

    An attribute of one level, and one that no row knows, has no lines; maps of false positives alone have.
    """
    found = [row for row in rows if row.stratum == "TP"]
    lines = []
    for attribute, chosen, values in (
        ("diameter_mm", found, [None if math.isnan(row.diameter_mm) else row.diameter_mm for row in found]),
        ("malignancy", found, [row.malignancy for row in found]),
        ("stratum", list(rows), [row.stratum for row in rows]),
    ):
        levels = list(values) if attribute == "stratum" else levels_of(attribute, values)
        distinct = sorted(set(map(str, levels)), key=_first_number)
        if len(distinct) < 2 and (attribute != "stratum" or distinct == ["TP"]):
            continue
        for level in distinct:
            mine = [row for row, one in zip(chosen, levels, strict=True) if one == level]
            for line in averages(mine, draws, seed):
                lines.append({"attribute": attribute, "level": level, **line})
    return lines


def _first_number(level: str) -> tuple[bool, float, str]:
    digits = "".join(letter if letter.isdigit() or letter == "." else " " for letter in level).split()
    return not digits, (float(digits[0]) if digits else 0.0) - level.startswith("below"), level


def number(value: float) -> float | None:
    """Six decimals, None for what is no number."""
    return round(float(value), 6) if math.isfinite(value) else None


def interval(edges: FloatArray) -> list[float | None] | None:
    """Both edges, or None."""
    return [number(edge) for edge in edges] if np.isfinite(edges).all() else None
