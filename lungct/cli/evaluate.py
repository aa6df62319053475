"""Judge detections against the truth.

On slices: COCO truth and results, also of other programs. AP and AR are COCO's (Lin 2014), at IoU .05, .10, ... .95;
FROC is sensitivity at 1/8 to 8 false positives per slice, where a detection hits a box at IoU >= --iou-hit or with its
centre in it. On scans: a table of nodules (LUNA16's annotations.csv or nodules.csv of preprocess) and one of marks
(a LUNA16 submission or nodules.csv of predict). FROC and CPM are by the LUNA16 rules (Setio 2017). The intervals come
from drawing patients with replacement.

Example: lungct evaluate slices/test.json detections.json evaluation/
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lungct.cli import options
from lungct.cli.result import Result, Table
from lungct.registry import CALIBRATIONS

SCANS = "Scans"
RESULTS = "detections.json"
NODULES = "nodules.csv"


def run(
    truth: Annotated[Path, options.input_path("COCO ground truth, or table of nodules.")] = Path("slices/test.json"),
    detections: Annotated[
        Path, options.input_path("COCO results, or table of marks, or the folder that lungct predict wrote.")
    ] = Path("detections.json"),
    out: Annotated[Path, typer.Argument(help="Folder to write.")] = Path("evaluation"),
    excluded: Annotated[
        Path | None,
        typer.Option("--excluded", help="Table of findings that count neither way.", rich_help_panel=SCANS),
    ] = None,
    scans: Annotated[
        Path | None,
        typer.Option(
            "--scans",
            help="List of the scans, those without a nodule too, or preprocess's folder.",
            rich_help_panel=SCANS,
        ),
    ] = None,
    hit: options.Hit = "radius",
    iou_hit: Annotated[
        float, typer.Option("--iou-hit", min=0.01, max=1, help="IoU of a hit in FROC and counts of slices.")
    ] = 0.1,
    score: Annotated[float, typer.Option("--score", min=0, max=1, help="Score at which hits are counted.")] = 0.5,
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=0, help="Draws for the 95 % intervals; 0 for none.")
    ] = 1000,
    max_detections: Annotated[
        int, typer.Option("--max-detections", min=1, help="Best detections kept of a category on an image or scan.")
    ] = 100,
    gallery: Annotated[
        int,
        typer.Option("--gallery", min=0, help="False positives, and missed boxes, shown of slices; 0 for no sheets."),
    ] = 24,
    recalibrate: Annotated[
        str | None,
        options.choice(
            "--recalibrate", CALIBRATIONS, "Fit calibration.json on these detections; use a validation split."
        ),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="calibration.json that scores are brought through first.")
    ] = None,
    store_into: Annotated[
        Path | None,
        typer.Option(
            "--store-into",
            help="Run folder that gets the scores at 1/16 to 8 false positives per scan or slice, for predict's "
            "--fp-per-scan, and the map of the scores; use a validation split, predicted without --calibrated.",
        ),
    ] = None,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
) -> Result:
    """Write the evaluation folder."""
    from lungct.evaluation import evaluate
    from lungct.evaluation.judged import EvaluateOptions
    from lungct.io.scan_table import is_json

    truth = _inside(truth, NODULES)
    paths = truth, _inside(detections, RESULTS if is_json(truth) else NODULES)
    wanted = EvaluateOptions(iou_hit, score, bootstrap, seed, max_detections, recalibrate or "", hit, gallery)
    places: dict[str, Any] = {
        "excluded": excluded,
        "scans": scans,
        "calibration": calibration,
        "store_into": store_into,
        "overwrite": overwrite,
    }
    if dry_run:
        counted = evaluate.plan_evaluate(*paths, out, wanted, **places)
        return Result(data=counted, tables=[Table(tuple(counted), [tuple(counted.values())], "to evaluate")])
    result = evaluate.evaluate(*paths, out, wanted, **places)
    return Result(output=out, data=_facts(result.metrics), tables=[_table(result.metrics)])


def _inside(path: Path, name: str) -> Path:
    """The file of this name in a folder; a file as it is."""
    return path / name if path.is_dir() else path


def _table(metrics: dict[str, Any]) -> Table:
    bounds = {name: f"{low:.3f} - {high:.3f}" for name, (low, high) in metrics["ci95"].items()}
    rows: list[tuple[object, ...]] = [
        (f"AP at IoU {iou}", value, bounds.get(f"ap@{iou}", "")) for iou, value in metrics.get("ap", {}).items()
    ]
    unit = metrics["froc"]["unit"]
    for rate, value in metrics["froc"]["at"].items():
        rows.append((f"sensitivity at {rate} FP per {unit}", value, bounds.get(f"sensitivity@{rate}fp", "")))
    rows.append(("mean of these", metrics["froc"]["mean"], bounds.get("froc_mean", "")))
    rows += [
        (f"CPM, {rule} rule", value, bounds.get(f"cpm_{rule}", ""))
        for rule, value in metrics["froc"].get("cpm", {}).items()
    ]
    counts = dict(metrics["counts"])
    at = f" at score {counts.pop('score'):g}" if "score" in counts else ""
    rows += [(f"{name.replace('_', ' ')}{at}", value, "") for name, value in counts.items()]
    return Table(("measure", "value", "95 %"), rows, _title(metrics))


def _title(metrics: dict[str, Any]) -> str:
    if metrics["kind"] == "slices":
        return f"{metrics['images']} images, {metrics['boxes']} boxes, {metrics['detections']} detections"
    return f"{metrics['scans']} scans, {metrics['nodules']} nodules, {metrics['counts']['marks']} marks"


def _facts(metrics: dict[str, Any]) -> dict[str, Any]:
    left_out = {"schema", "froc", "ap_by_iou", "ar_by_iou", "pr50", "breakdown", "reliability"}
    curve = {name: metrics["froc"][name] for name in ("at", "mean", "cpm") if name in metrics["froc"]}
    return {name: value for name, value in metrics.items() if name not in left_out} | {"froc": curve}
