"""Evaluate a truth and detections, of slices (COCO) or of scans (CSV), and write the ``evaluation/`` folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lungct.errors import InputError, UsageError
from lungct.evaluation import operating
from lungct.evaluation.judged import RADIUS, EvaluateOptions, Evaluation
from lungct.evaluation.measures import tidy_csv
from lungct.evaluation.scans import ScanPair, judge_scans, read_scan_pair
from lungct.evaluation.slices import judge_slices, read_pair
from lungct.io import atomic
from lungct.io.calibration import FILE_NAME as CALIBRATION
from lungct.io.calibration import Calibration, read_calibration, write_calibration
from lungct.io.coco import CocoTruth
from lungct.io.draws import write_draws
from lungct.io.manifest import sha256_of, write_manifest
from lungct.io.operating_points import OperatingPoints
from lungct.io.scan_table import is_json
from lungct.report import evaluation_tables, text_tables
from lungct.types import Detections

logger = logging.getLogger(__name__)

SlicePair = tuple[CocoTruth, list[Detections]]


def evaluate(
    truth_path: Path,
    detections_path: Path,
    out: Path,
    options: EvaluateOptions,
    *,
    excluded: Path | None = None,
    scans: Path | None = None,
    calibration: Path | None = None,
    store_into: Path | None = None,
    overwrite: bool = False,
) -> Evaluation:
    """Judge a detections file and write the ``evaluation/`` folder.

    Args:
        truth_path, detections_path: two COCO files, or two tables of nodules on scans.
        out: folder to write.
        options: how to judge.
        excluded, scans: tables of findings that count neither way, and of the scans; of scans alone.
        calibration: file of a map that scores are brought through first.
        store_into: run folder that gets the operating points, and the map of the scores where there is one.

    Raises:
        InputError: see :func:`read`; ``store_into`` holds no model.
        OutputExists: ``out`` must not be written, or what is stored in the run folder not be replaced.
        UsageError: see :func:`read`, :func:`judge` and :func:`lungct.evaluation.operating.check_store`.
    """
    given = _checked(out, options, calibration, store_into, overwrite=overwrite)
    how = {} if store_into is None else operating.found_by(store_into, detections_path)
    pair = read(truth_path, detections_path, excluded=excluded, scans=scans)
    if given is not None:
        pair = calibrated(pair, given)
    result = judge(pair, options)
    inputs = digests(
        truth=truth_path, detections=detections_path, excluded=excluded, scans=scans, calibration=calibration
    )
    with atomic.staged_folder(out, command="evaluate", overwrite=overwrite) as folder:
        atomic.write_json(folder / "metrics.json", result.metrics, indent=1)
        atomic.write_bytes(folder / "metrics.csv", tidy_csv(result.metrics))
        tables = evaluation_tables.tables_of(result.metrics)
        atomic.write_bytes(folder / "tables.md", text_tables.markdown(tables).encode())
        atomic.write_bytes(folder / "tables.tex", text_tables.latex(tables).encode())
        write_draws(folder / "draws.npz", result.draws)
        if result.calibration is not None:
            write_calibration(folder / CALIBRATION, result.calibration)
        for stem, draw in result.figures.items():
            draw(folder / stem)
        write_manifest(folder, "evaluate", {**asdict(options), **inputs})
    if store_into is not None:
        _store(store_into, pair, result, given, {"hit": hit_of(result.metrics), **how, **inputs})
    return result


def plan_evaluate(
    truth_path: Path,
    detections_path: Path,
    out: Path,
    options: EvaluateOptions,
    *,
    excluded: Path | None = None,
    scans: Path | None = None,
    calibration: Path | None = None,
    store_into: Path | None = None,
    overwrite: bool = False,
) -> dict[str, int]:
    """How much :func:`evaluate` would judge; takes and raises the same, and writes nothing."""
    _checked(out, options, calibration, store_into, overwrite=overwrite)
    if store_into is not None:
        operating.found_by(store_into, detections_path)
    return sizes(read(truth_path, detections_path, excluded=excluded, scans=scans))


def _checked(
    out: Path, options: EvaluateOptions, calibration: Path | None, store_into: Path | None, *, overwrite: bool
) -> Calibration | None:
    """The map of the scores that is given, after the check that all places may be written."""
    atomic.check_replaceable(out, overwrite=overwrite, command="evaluate")
    if store_into is not None:
        refit = bool(options.recalibrate)
        operating.check_store(store_into, overwrite=overwrite, calibration=calibration, recalibrate=refit)
    return None if calibration is None else read_calibration(calibration)


def hit_of(metrics: Mapping[str, Any]) -> str:
    """What counts as a hit in the FROC of a metrics document."""
    froc = metrics["froc"]
    return f"IoU {froc['iou_hit']:g} or centre inside" if "iou_hit" in froc else str(froc.get("hit", RADIUS))


def _store(
    run: Path, pair: SlicePair | ScanPair, result: Evaluation, given: Calibration | None, facts: dict[str, Any]
) -> None:
    """Store operating points for the scores as predict will write them: through the map that the run will hold."""
    fitted = result.calibration
    tally = result.tally if fitted is None else operating.brought_through(result.tally, fitted)
    splits = set() if isinstance(pair, ScanPair) else {str(one.lungct.get("split", "")) for one in pair[0].images}
    if "test" in splits:
        logger.warning("the scores were chosen on the test split, where they flatter; choose them on val.json")
    measured_on = {**sizes(pair), **facts, **({"split": " ".join(sorted(splits))} if any(splits) else {})}
    unit = str(result.metrics["froc"]["unit"])
    points = OperatingPoints(unit, operating.operating_points(tally), measured_on=measured_on)
    operating.store(run, points, fitted or given)


def digests(**paths: Path | None) -> dict[str, str]:
    """``<name>_sha256`` of every file that is given."""
    return {f"{name}_sha256": sha256_of(path) for name, path in paths.items() if path is not None and path.is_file()}


def read(
    truth_path: Path, detections_path: Path, *, excluded: Path | None = None, scans: Path | None = None
) -> SlicePair | ScanPair:
    """Read a pair of COCO files or a pair of tables; which, is found by looking at them.

    Raises:
        InputError: one is COCO and the other a table; see :func:`read_pair` and :func:`read_scan_pair`.
        UsageError: excluded findings or a list of scans for a COCO pair.
    """
    kinds = is_json(truth_path), is_json(detections_path)
    if kinds[0] != kinds[1]:
        first, second = ("COCO" if kind else "a table" for kind in kinds)
        problem = f"{second}, and the truth is {first}"
        raise InputError.of(detections_path, problem, "give two COCO files, or two tables of nodules on scans")
    if not kinds[0]:
        return read_scan_pair(truth_path, detections_path, excluded, scans)
    if excluded is not None or scans is not None:
        raise UsageError("--excluded and --scans are for tables of nodules on scans", "a COCO truth names its images")
    return read_pair(truth_path, detections_path)


def calibrated(pair: SlicePair | ScanPair, calibration: Calibration) -> SlicePair | ScanPair:
    """The same pair with every score brought through the map."""
    if isinstance(pair, ScanPair):
        return replace(pair, marks=replace(pair.marks, score=calibration.apply(pair.marks.score)))
    truth, detections = pair
    return truth, [replace(one, scores=calibration.apply(one.scores)) for one in detections]


def judge(pair: SlicePair | ScanPair, options: EvaluateOptions) -> Evaluation:
    """Compute every measure.

    Raises:
        UsageError: a hit by another condition for slices; see :func:`judge_scans`.
    """
    if not isinstance(pair, ScanPair) and options.hit != RADIUS:
        raise UsageError("--hit is for tables of nodules on scans", "on slices --iou-hit says what a hit is")
    return judge_scans(pair, options) if isinstance(pair, ScanPair) else judge_slices(*pair, options)


def sizes(pair: SlicePair | ScanPair) -> dict[str, int]:
    """How much there is to judge."""
    if isinstance(pair, ScanPair):
        return {"scans": len(pair.patients), "nodules": len(pair.nodules), "marks": len(pair.marks)}
    truth, detections = pair
    counts = len(truth.images), len(truth.annotations), sum(map(len, detections))
    return dict(zip(("images", "boxes", "detections"), counts, strict=True))
