"""Score heatmaps by where they are bright.

The segmentation game, with chance, ceiling and controls: three rules set the brightest pixels of each map against the
true box that its detection found: fixed (top .5 %), adaptive (top 2 x area) and inverse-distance (top 2.8 x area).
Maps may come from any tool that writes NPZ with heatmaps (D, Y, X) and boxes_xyxy_px (D, 4). False positives have no
true box: they are listed and not averaged.

References: Holm 1979; Demsar 2006; Field & Welsh 2007.

Example: lungct segmentation-game heatmaps/ slices/test.json game/
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lungct.cli import options, streams
from lungct.cli.result import Result, Table

Rules = Annotated[
    str, options.choice("--rules", ("repaired", "thesis"), "Exact ties and boxes, or the rules as published.")
]
Controls = Annotated[
    bool, typer.Option("--controls/--no-controls", help="Score maps that explain nothing beside the methods.")
]
Bootstrap = Annotated[int, typer.Option("--bootstrap", min=0, help="Draws over patients for the intervals; 0: none.")]


def run(
    heatmaps: Annotated[Path, options.input_path("Folder of heatmap NPZ files, in any layout.")] = Path("heatmaps"),
    truth: Annotated[Path, typer.Argument(help="COCO file with the true boxes.")] = Path("slices/test.json"),
    out: Annotated[Path, typer.Argument(help="Folder to write.")] = Path("game"),
    rules: Rules = "repaired",
    controls: Controls = True,
    bootstrap: Bootstrap = 2000,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
) -> Result:
    """Play the game."""
    from lungct.game.run import GameOptions, plan, segmentation_game

    wanted = GameOptions(rules=rules, controls=controls, bootstrap=bootstrap, seed=seed)
    if dry_run:
        sizes = plan(heatmaps, truth, wanted)
        return Result(data=sizes, tables=[Table(tuple(sizes), [[str(value) for value in sizes.values()]])])
    with streams.progress() as progress:
        summary = segmentation_game(heatmaps, truth, out, wanted, overwrite=overwrite, progress=progress)
    return Result(output=out, data=summary, tables=[_table(summary)])


def _table(summary: dict[str, Any]) -> Table:
    columns = ("rule", "method", "mean", "chance", "ceiling", "normalised", "n", "failed")
    rows = [["-" if row[name] is None else row[name] for name in columns] for row in summary["rows"]]
    return Table(columns, rows, str(summary["note"]))
