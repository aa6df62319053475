"""Compare detectors on one truth.

Takes folders of lungct evaluate, or detections files with --truth. Every two runs are judged in the same draws of
patients, which gives the interval and the p value of their difference (Efron & Tibshirani 1993); over several pairs p
is corrected by Holm 1979.

Example: lungct compare first/evaluation second/evaluation --out comparison/
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lungct.cli import options, streams
from lungct.cli.result import Result, Table

FILES = "Detections files"


def run(
    runs: Annotated[list[Path], typer.Argument(help="Evaluation folders, or detections files of --truth.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("comparison"),
    measure: Annotated[
        list[str] | None, typer.Option("--measure", help="Measure to test, as in metrics.csv; may be repeated.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option("--truth", help="COCO truth, or table of nodules.", rich_help_panel=FILES)
    ] = None,
    excluded: Annotated[
        Path | None,
        typer.Option("--excluded", help="Table of findings that count neither way.", rich_help_panel=FILES),
    ] = None,
    scans: Annotated[Path | None, typer.Option("--scans", help="List of the scans.", rich_help_panel=FILES)] = None,
    iou_hit: Annotated[
        float, typer.Option("--iou-hit", min=0.01, max=1, help="IoU of a hit in FROC.", rich_help_panel=FILES)
    ] = 0.1,
    hit: options.Hit = "radius",
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=1, help="Draws of patients.", rich_help_panel=FILES)
    ] = 1000,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
) -> Result:
    """Write the comparison folder."""
    from lungct.evaluation import compare
    from lungct.evaluation.judged import EvaluateOptions

    judged_on: dict[str, Any] = {"truth": truth, "excluded": excluded, "scans": scans, "overwrite": overwrite}
    if dry_run:
        names = compare.plan_compare(runs, out, measure or (), **judged_on)
        return Result(data={"runs": names}, tables=[Table(("run",), [(name,) for name in names], "to compare")])
    wanted = EvaluateOptions(iou_hit, bootstrap=bootstrap, seed=seed, hit=hit)
    with streams.progress() as progress:
        document = compare.compare(
            runs,
            out,
            measure or (),
            options=wanted,
            progress=progress,
            **judged_on,
        )
    return Result(output=out, data=document, tables=[_table(document)])


def _table(document: dict[str, Any]) -> Table:
    columns = ("measure", "first", "second", "difference", "95 %", "p", "p (Holm)")
    rows = []
    for one in document["tests"]:
        low, high = one["ci95"]
        shown = f"{one['difference']:+.3f}", f"{low:+.3f} - {high:+.3f}"
        rows.append((one["measure"], one["a"], one["b"], *shown, one["p"], one["p_holm"]))
    return Table(columns, rows, "first minus second")
