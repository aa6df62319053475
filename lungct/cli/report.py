"""Tell a whole run in one HTML page.

The page holds the data, the training, the detections with their measures, the best and worst cases under each
method's heatmap, and the segmentation game. It needs no network and no script, reads on a phone and prints on paper.
Parts that were not run are named as such.

Example: lungct report demo/ demo/report.html
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lungct.cli import options, streams
from lungct.cli.result import Result, Table

PLACES = "Places that differ from the conventional ones"


def _place(flag: str, help: str) -> Any:  # noqa: A002 - the name of typer's own parameter
    return typer.Option(flag, help=help, rich_help_panel=PLACES)


def run(
    folder: Annotated[
        Path, options.input_path("Folder with slices/ run/ detections.json evaluation/ heatmaps/ game/ comparison/.")
    ] = Path(),
    out: Annotated[Path, typer.Argument(help="HTML file to write.")] = Path("report.html"),
    slices: Annotated[Path | None, _place("--slices", "Folder of slices.")] = None,
    run: Annotated[Path | None, _place("--run", "Folder of the training run.")] = None,
    detections: Annotated[Path | None, _place("--detections", "COCO results file.")] = None,
    evaluation: Annotated[Path | None, _place("--evaluation", "Folder of the evaluation.")] = None,
    heatmaps: Annotated[Path | None, _place("--heatmaps", "Folder with a folder of heatmaps per method.")] = None,
    game: Annotated[Path | None, _place("--game", "Folder of the segmentation game.")] = None,
    comparison: Annotated[Path | None, _place("--comparison", "Folder of lungct compare.")] = None,
    cases: Annotated[int, typer.Option("--cases", min=0, help="Hits, false alarms and misses shown, of each.")] = 3,
    title: Annotated[str, typer.Option("--title", help="Heading of the page.")] = "Lung nodule detection: run report",
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
) -> Result:
    """Write the report."""
    from lungct.report.folders import Places
    from lungct.report.html import ReportOptions, write_report

    given = {"slices": slices, "run": run, "detections": detections, "evaluation": evaluation}
    places = Places.under(folder, **given, heatmaps=heatmaps, game=game, comparison=comparison)
    if dry_run:
        parts = places.found()
        rows = [[name, "there" if there else "not run"] for name, there in parts.items()]
        return Result(data={"parts": parts}, tables=[Table(["part", "state"], rows)])
    with streams.progress() as progress:
        wanted = ReportOptions(title=title, cases=cases)
        summary = write_report(out, places, wanted, overwrite=overwrite, progress=progress)
    return Result(output=out, data=summary)
