"""Evaluate a truth and detections, of slices (COCO) or of scans (CSV), and write the ``evaluation/`` folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lungct.errors import InputError, UsageError
from lungct.evaluation.judged import EvaluateOptions, Evaluation
from lungct.evaluation.scans import ScanPair, judge_scans, read_scan_pair
from lungct.evaluation.slices import judge_slices, read_pair
from lungct.io import atomic
from lungct.io.coco import CocoTruth
from lungct.io.manifest import sha256_of, write_manifest
from lungct.io.scan_table import is_json
from lungct.types import Detections

SlicePair = tuple[CocoTruth, list[Detections]]


def evaluate(
    truth_path: Path,
    detections_path: Path,
    out: Path,
    options: EvaluateOptions,
    *,
    excluded: Path | None = None,
    scans: Path | None = None,
    overwrite: bool = False,
) -> Evaluation:
    """Judge a detections file and write the ``evaluation/`` folder.

    Raises:
        InputError: see :func:`read`.
        OutputExists: ``out`` must not be written.
    """
    atomic.check_replaceable(out, overwrite=overwrite, command="evaluate")
    result = judge(read(truth_path, detections_path, excluded=excluded, scans=scans), options)
    given = {"truth": truth_path, "detections": detections_path, "excluded": excluded, "scans": scans}
    inputs = {f"{name}_sha256": sha256_of(path) for name, path in given.items() if path is not None and path.is_file()}
    with atomic.staged_folder(out, command="evaluate", overwrite=overwrite) as folder:
        atomic.write_json(folder / "metrics.json", result.metrics, indent=1)
        atomic.write_bytes(folder / "metrics.csv", tidy_csv(result.metrics))
        for stem, draw in result.figures.items():
            draw(folder / stem)
        write_manifest(folder, "evaluate", {**asdict(options), **inputs})
    return result


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


def judge(pair: SlicePair | ScanPair, options: EvaluateOptions) -> Evaluation:
    """Compute every measure."""
    return judge_scans(pair, options) if isinstance(pair, ScanPair) else judge_slices(*pair, options)


def sizes(pair: SlicePair | ScanPair) -> dict[str, int]:
    """How much there is to judge."""
    if isinstance(pair, ScanPair):
        return {"scans": len(pair.patients), "nodules": len(pair.nodules), "marks": len(pair.marks)}
    truth, detections = pair
    counts = len(truth.images), len(truth.annotations), sum(map(len, detections))
    return dict(zip(("images", "boxes", "detections"), counts, strict=True))


def measures(metrics: Mapping[str, Any]) -> list[tuple[str, str, float | None, list[float] | None, int | None]]:
    """The document as rows of (measure, subset, value, 95 % interval, number of boxes)."""
    ci95 = metrics["ci95"]
    rows: list[tuple[str, str, float | None, list[float] | None, int | None]] = []

    def add(named: Iterable[tuple[str, float]]) -> None:
        known = {row[0] for row in rows}
        rows.extend((name, "", value, ci95.get(name), None) for name, value in named if name not in known)

    for kind in ("ap", "ar"):
        add((f"{kind}@{iou}", value) for iou, value in metrics.get(kind, {}).items())
        add((f"{kind}@{float(iou):g}", value) for iou, value in metrics.get(f"{kind}_by_iou", {}).items())
    add((f"sensitivity@{rate}fp", value) for rate, value in metrics["froc"]["at"].items())
    add([("froc_mean", metrics["froc"]["mean"])])
    add((f"cpm_{rule}", value) for rule, value in metrics["froc"].get("cpm", {}).items())
    add(metrics["counts"].items())
    for one in metrics.get("criteria", ()):
        rows.append(("froc_mean", f"hit: {one['hit']}", one["mean"], one["ci95"], None))
    for one in metrics.get("breakdown", ()):
        subset = f"{one['attribute']}: {one['level']}"
        for name in ("sensitivity", "froc_mean"):
            rows.append((name, subset, one[name], one[f"{name}_ci95"], one["n"]))
    return rows


def tidy_csv(metrics: Mapping[str, Any]) -> bytes:
    """One row per measure and subset: measure, subset, value, low95, high95, n."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("measure", "subset", "value", "low95", "high95", "n"))
    for name, subset, value, bounds, count in measures(metrics):
        writer.writerow((name, subset, value, *(bounds or ("", "")), "" if count is None else count))
    return stream.getvalue().encode()
