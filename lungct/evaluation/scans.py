"""Evaluate marks on whole scans: FROC and CPM by the LUNA16 rules, stricter criteria, breakdowns, intervals by scan."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lungct.errors import InputError, UsageError
from lungct.evaluation import luna16
from lungct.evaluation.bootstrap import Draws, froc_draws, interval
from lungct.evaluation.breakdown import breakdown
from lungct.evaluation.judged import (
    SCHEMA,
    EvaluateOptions,
    Evaluation,
    Scored,
    calibrated_part,
    draw_froc,
    draw_reliability,
    draws_of,
    froc_part,
    intervals,
)
from lungct.evaluation.luna16 import Criterion, Findings
from lungct.io.draws import DrawnMeasures, pairing
from lungct.io.scan_table import ScanPlaces, ScanRows, read_scan_ids, read_scan_rows

logger = logging.getLogger(__name__)

STRICTER = (
    Criterion("distance", 5.0),
    Criterion("distance", 3.0),
    Criterion("iou", 0.1),
    Criterion("iou", 0.3),
    Criterion("iou", 0.5),
)


@dataclass(frozen=True, eq=False)
class ScanPair:
    """Truth and marks on one list of scans.

    Attributes:
        patients: patient of each scan; the scan itself where no table says.
        attributes: column -> value of each nodule.
        unlisted: marks on scans that the list does not name, left out.
    """

    patients: tuple[str, ...]
    nodules: Findings
    marks: Findings
    excluded: Findings
    attributes: dict[str, list[str]]
    unlisted: int = 0


def read_scan_pair(truth: Path, marks: Path, excluded: Path | None = None, scans: Path | None = None) -> ScanPair:
    """Read truth, marks, excluded findings and the list of scans.

    Without a list the scans are those of the truth and of the marks, and a scan with neither is not counted.

    Raises:
        InputError: see :mod:`lungct.io.scan_table`; no nodule on the listed scans; marks on none of them.
    """
    true_rows = read_scan_rows(truth, scored=False)
    mark_rows = read_scan_rows(marks, scored=True)
    ids = read_scan_ids(scans) if scans else list(dict.fromkeys(true_rows.scan))
    if scans is None:
        known = ScanPlaces(ids).of(mark_rows.scan) >= 0
        ids += dict.fromkeys(one for one, there in zip(mark_rows.scan, known, strict=True) if not there)
        logger.warning("without --scans, scans that have neither a nodule nor a mark are not counted")
    places = ScanPlaces(ids)
    on_scan = places.of(true_rows.scan)
    nodules = _findings(true_rows, on_scan)
    if not len(nodules):
        raise InputError.of(truth, "no nodule on the scans to judge", "do --scans and the truth name the same scans?")
    of_mark = places.of(mark_rows.scan)
    unlisted = int((of_mark < 0).sum())
    if unlisted and unlisted == len(of_mark):
        raise InputError.of(
            marks, f"none of its {unlisted} marks is on a scan of the list", "are the scan ids the same?"
        )
    if unlisted:
        logger.warning("%s: %d of %d marks are on scans that are not listed; left out", marks, unlisted, len(of_mark))
    other_rows = read_scan_rows(excluded, scored=False) if excluded else None
    other = _nothing() if other_rows is None else _findings(other_rows, places.of(other_rows.scan))
    return ScanPair(
        _patients(ids, true_rows, on_scan),
        nodules,
        _findings(mark_rows, of_mark),
        other,
        _attributes(true_rows, on_scan >= 0),
        unlisted,
    )


def _findings(rows: ScanRows, scan: Any) -> Findings:
    whole = Findings(scan, rows.center_lps_mm, rows.diameter_mm, rows.size_mm, rows.score)
    return whole.only(scan >= 0)


def _nothing() -> Findings:
    three = np.zeros((0, 3))
    return Findings(np.zeros(0, dtype=np.int64), three, np.zeros(0), three, np.zeros(0))


def _patients(ids: Sequence[str], rows: ScanRows, on_scan: Any) -> tuple[str, ...]:
    patients = list(ids)
    for place, patient in zip(on_scan.tolist(), rows.patient, strict=False):
        if place >= 0 and patient:
            patients[place] = patient
    return tuple(patients)


def _attributes(rows: ScanRows, keep: Any) -> dict[str, list[str]]:
    diameters = [f"{one:g}" if one > 0 else "" for one in rows.diameter_mm.tolist()]
    columns = {"diameter_mm": diameters, **rows.other}
    return {name: [one for one, kept in zip(cells, keep, strict=True) if kept] for name, cells in columns.items()}


def judge_scans(pair: ScanPair, options: EvaluateOptions | None = None) -> Evaluation:
    """Compute every measure of marks on scans."""
    options = options or EvaluateOptions()
    scans = len(pair.patients)
    draws = draws_of(list(pair.patients), options)
    marks = luna16.strongest(pair.marks, options.max_detections)
    hit = Criterion.parse(options.hit)
    if hit.kind == "iou" and not _sized(marks):
        raise UsageError(f"a hit by {hit} needs the size of every mark", "give columns w, h, d or diameter_mm")
    finds = luna16.find_nodules(pair.nodules, marks, pair.excluded, hit)
    if len(marks) and not np.isfinite(finds.found_score).any():
        logger.warning("no mark lies in a nodule; %s", _likely_frame(pair, marks, hit))
    tally = luna16.tally(pair.nodules, marks, finds, scans)
    froc, values = froc_part(tally, "scan", draws)
    froc["cpm"] = {
        "grid": float(luna16.grid_sensitivities(tally.curve).mean()),
        "first_reached": float(luna16.first_reached(tally.curve).mean()),
    }
    if draws is not None:
        values["cpm_grid"] = froc_draws(tally, draws, luna16.grid_rates()).mean(axis=1)
    patient = np.unique(pair.patients, return_inverse=True)[1]
    known = ~finds.ignored
    scored = Scored(marks.score[known], ~finds.false[known], patient[marks.scan[known]])
    calibration, ece, fitted = calibrated_part(scored, draws, options.recalibrate)
    values = {**values, **ece}
    metrics = {
        "schema": SCHEMA,
        "kind": "scans",
        "scans": scans,
        "scans_without_nodule": scans - len(np.unique(pair.nodules.scan)),
        "patients": len(set(pair.patients)),
        "nodules": len(pair.nodules),
        "excluded": len(pair.excluded),
        "ci95": intervals(values),
        "froc": {**froc, "hit": str(hit)},
        "counts": _counts(pair, marks, finds),
        "calibration": calibration,
        "criteria": [_criterion(pair, marks, one, draws) for one in (Criterion(), *STRICTER)],
        "breakdown": breakdown(
            pair.attributes,
            finds.found_score,
            patient[pair.nodules.scan],
            options.score,
            list(tally.curve.score_at.values()),
            draws,
        ),
    }
    figures = {"froc": functools.partial(draw_froc, part=froc)}
    if calibration:
        figures["reliability"] = functools.partial(draw_reliability, part=calibration)
    drawn = DrawnMeasures(values, pairing(pair.patients, options.bootstrap, options.seed))
    return Evaluation(metrics, drawn, figures, tally, fitted)


def _likely_frame(pair: ScanPair, marks: Findings, hit: Criterion) -> str:
    """What may be wrong with coordinates that hit nothing."""
    turned = replace(marks, center_lps_mm=marks.center_lps_mm * (-1.0, -1.0, 1.0))
    found = int(np.isfinite(luna16.find_nodules(pair.nodules, turned, pair.excluded, hit).found_score).sum())
    if not found:
        return "are the coordinates world mm in LPS (x, y, z)?"
    return f"with x and y negated {found} of {len(pair.nodules)} are found: are the coordinates RAS? LPS is expected"


def _counts(pair: ScanPair, marks: Findings, finds: luna16.ScanFinds) -> dict[str, int]:
    found = int(np.isfinite(finds.found_score).sum())
    return {
        "tp": found,
        "fp": int(finds.false.sum()),
        "fn": len(pair.nodules) - found,
        "ignored": int(finds.ignored.sum()),
        "duplicates": finds.doubles,
        "marks": len(marks),
        "beyond_most": len(pair.marks) - len(marks),
        "unlisted": pair.unlisted,
    }


def _sized(marks: Findings) -> bool:
    return not np.isnan(marks.size_mm).any() or not np.isnan(marks.diameter_mm).any()


def _criterion(pair: ScanPair, marks: Findings, criterion: Criterion, draws: Draws | None) -> dict[str, Any]:
    """The headline under another condition of a hit; boxes that no table gives are cubes of the diameter."""
    if criterion.kind == "iou" and not _sized(marks):
        return {"hit": str(criterion), "mean": None, "ci95": None, "at": None, "why": "the marks have no size"}
    finds = luna16.find_nodules(pair.nodules, marks, pair.excluded, criterion)
    tally = luna16.tally(pair.nodules, marks, finds, len(pair.patients))
    at = {f"{rate:g}": value for rate, value in tally.curve.at.items()}
    ci95 = None if draws is None else list(interval(froc_draws(tally, draws).mean(axis=1)))
    return {"hit": str(criterion), "mean": tally.curve.mean, "ci95": ci95, "at": at}
