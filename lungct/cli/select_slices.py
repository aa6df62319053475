"""Turn scans into 2.5D slices, split by patient.

Of each nodule's slices the rule of --method keeps some, the one of peak mass always; every nodule that a written
slice cuts is annotated on it. Slices without a nodule come from --negatives. Writes images/<case>/<z>.npz (int16 HU,
the slice and its neighbours as channels), train.json, val.json, test.json (COCO) and manifest.ndjson. Patients keep
the split that the source states; others are split 70/18/12 by a stable hash. Of a preprocessed 2D source every slice
is kept.

Example: lungct select-slices out/ slices/ --method threshold --fraction 0.5 --negatives 4
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lungct.cli import options, streams
from lungct.cli.result import Result
from lungct.registry import SELECTIONS

RULE = "Slices of a nodule"


def run(
    out: Annotated[Path, options.input_path("What 'lungct preprocess' wrote.")] = Path("out"),
    slices: Annotated[Path, typer.Argument(help="Folder to write.")] = Path("slices"),
    method: Annotated[
        str, options.choice("--method", tuple(SELECTIONS), "Which slices of a nodule are kept.", rich_help_panel=RULE)
    ] = "threshold",
    fraction: Annotated[
        float | None,
        typer.Option("--fraction", min=0, max=1, help="threshold: share of the peak mass; .5.", rich_help_panel=RULE),
    ] = None,
    min_hu: Annotated[
        float | None, typer.Option("--min-hu", help="threshold: least mean HU as well.", rich_help_panel=RULE)
    ] = None,
    k: Annotated[
        float | None,
        typer.Option("--k", min=0, help="statistical: sd below the mean mass; 1.", rich_help_panel=RULE),
    ] = None,
    window_slices: Annotated[
        int | None,
        typer.Option("--window-slices", min=1, help="sliding-window: length; half the span.", rich_help_panel=RULE),
    ] = None,
    context: Annotated[int, typer.Option("--context", min=1, help="Channels: a slice and its neighbours, odd.")] = 3,
    negatives: Annotated[
        int, typer.Option("--negatives", min=0, help="Lung slices per scan at least 10 mm from any nodule.")
    ] = 2,
    keep_ids: options.KeepIds = False,
    key_file: options.KeyFile = None,
    seed: options.Seed = 0,
    workers: options.Workers = 0,
    resume: options.Resume = False,
    keep_going: options.KeepGoing = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
) -> Result:
    """Select the slices of one folder of scans."""
    from lungct.ct.select import rule_of
    from lungct.preprocessing.cases import Running
    from lungct.preprocessing.scan_slices import SelectOptions
    from lungct.preprocessing.select_slices import plan_select_slices, select_slices
    from lungct.sources.pseudonym import Naming

    rule = rule_of(method, fraction=fraction, min_hu=min_hu, k=k, window_slices=window_slices)
    wanted = SelectOptions(rule, context, negatives, seed)
    naming = Naming.of(keep_ids, key_file)
    if dry_run:
        return Result(data=plan_select_slices(out, slices, wanted, naming=naming, overwrite=overwrite))
    with streams.progress() as progress:
        running = Running(workers, keep_going, resume, overwrite, progress)
        summary = select_slices(out, slices, wanted, running, naming=naming)
    return Result(output=slices, data=summary.facts(), failed=summary.failed)
