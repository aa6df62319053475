"""Judge detections against the truth.

Writes AP and AR over IoU, FROC over slices, counts, 95 % intervals and figures. AP and AR are COCO's (Lin 2014), at
IoU .05, .10, ... .95. FROC is sensitivity at 1/8 to 8 false positives per slice (Setio 2017); there a detection hits
a box at IoU >= --iou-hit or with its centre in it. The intervals come from drawing patients with replacement. Any
COCO pair will do, also of other programs.

Example: lungct evaluate slices/test.json detections.json evaluation/
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lungct.cli import options
from lungct.cli.result import Result, Table


def run(
    truth: Annotated[Path, options.input_path("COCO ground truth.")] = Path("slices/test.json"),
    detections: Annotated[Path, options.input_path("COCO results, or a folder with detections.json in it.")] = Path(
        "detections.json"
    ),
    out: Annotated[Path, typer.Argument(help="Folder to write.")] = Path("evaluation"),
    iou_hit: Annotated[
        float, typer.Option("--iou-hit", min=0.01, max=1, help="IoU of a hit in FROC and counts.")
    ] = 0.1,
    score: Annotated[float, typer.Option("--score", min=0, max=1, help="Score at which hits are counted.")] = 0.5,
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=0, help="Draws for the 95 % intervals; 0 for none.")
    ] = 1000,
    max_detections: Annotated[
        int, typer.Option("--max-detections", min=1, help="Best detections kept of a category on an image.")
    ] = 100,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
) -> Result:
    """Write the evaluation folder."""
    from lungct.evaluation import evaluate

    found = detections / "detections.json" if detections.is_dir() else detections
    wanted = evaluate.EvaluateOptions(iou_hit, score, bootstrap, seed, max_detections)
    if dry_run:
        split, marks = evaluate.read_pair(truth, found)
        counted = {"images": len(split.images), "boxes": len(split.annotations), "detections": sum(map(len, marks))}
        return Result(data=counted, tables=[Table(tuple(counted), [tuple(counted.values())], "to evaluate")])
    result = evaluate.evaluate(truth, found, out, wanted, overwrite=overwrite)
    return Result(output=out, data=_facts(result.metrics), tables=[_table(result.metrics)])


def _table(metrics: dict[str, Any]) -> Table:
    bounds = {name: f"{low:.3f} - {high:.3f}" for name, (low, high) in metrics["ci95"].items()}
    rows: list[tuple[object, ...]] = [
        (f"AP at IoU {iou}", value, f"{metrics['ar'][iou]:.3f}", bounds.get(f"ap@{iou}", ""))
        for iou, value in metrics["ap"].items()
    ]
    for rate, value in metrics["froc"]["at"].items():
        rows.append((f"sensitivity at {rate} FP per slice", value, "", ""))
    rows.append(("mean of these", metrics["froc"]["mean"], "", bounds.get("froc_mean", "")))
    counts = metrics["counts"]
    for name in ("tp", "fp", "fn", "duplicates"):
        rows.append((f"{name} at score {counts['score']:g}", counts[name], "", ""))
    title = f"{metrics['images']} images, {metrics['boxes']} boxes, {metrics['detections']} detections"
    return Table(("measure", "value", "AR", "95 %"), rows, title)


def _facts(metrics: dict[str, Any]) -> dict[str, Any]:
    kept = ("images", "patients", "nodules", "boxes", "detections", "ap", "ar", "ci95", "counts")
    curve = {"at": metrics["froc"]["at"], "mean": metrics["froc"]["mean"]}
    return {name: metrics[name] for name in kept} | {"froc": curve}
