"""Turn scans into 2.5D slices, split by patient.

Of each nodule's slices the rule of --method keeps some, the one of peak mass always; every nodule that a written
slice cuts is annotated on it. Slices without a nodule come from --negatives and --hard-negatives; a scan whose nodules
nobody has looked for gives none. Writes images/<case>/<z>.npz (int16 HU, the slice and its neighbours as channels;
beyond the ends of a scan its first or last slice is repeated), train.json, val.json, test.json (COCO) and
manifest.ndjson. Patients keep the split that the source states; others are split 70/18/12 by a stable hash. Of a
preprocessed 2D source every slice is kept, and options that choose among the slices of a scan are refused.

Example: lungct select-slices out/ slices/ --method threshold --fraction 0.5 --negatives 4
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lungct.cli import options, streams
from lungct.cli.result import Result
from lungct.registry import HU_WINDOWS, SELECTIONS

RULE = "Slices of a nodule"
NEGATIVE = "Slices without a nodule"
PICTURES = "Pictures"


def run(
    out: Annotated[Path, options.input_path("What 'lungct preprocess' wrote.")] = Path("out"),
    slices: Annotated[Path, typer.Argument(help="Folder to write.")] = Path("slices"),
    method: Annotated[
        str | None,
        options.choice(
            "--method", tuple(SELECTIONS), "Which slices of a nodule are kept; threshold.", rich_help_panel=RULE
        ),
    ] = None,
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
    negatives: Annotated[
        int | None,
        typer.Option(
            "--negatives",
            min=0,
            help="Lung slices per scan at least 10 mm from any nodule; 2.",
            rich_help_panel=NEGATIVE,
        ),
    ] = None,
    hard_negatives: Annotated[
        Path | None,
        typer.Option(
            "--hard-negatives",
            metavar="FILE",
            help="False positives whose slices are added where they are as far: COCO results of 'lungct predict' on"
            " scans, or a CSV with case_id,z_index or image_id.",
            rich_help_panel=NEGATIVE,
        ),
    ] = None,
    context: Annotated[int, typer.Option("--context", min=1, help="Channels: a slice and its neighbours, odd.")] = 3,
    exclude: Annotated[
        Path | None,
        typer.Option(
            "--exclude",
            metavar="FILE",
            help="Leave out what it names, one a line: a case, a 2D image, or a slice as <case>/<z>.",
        ),
    ] = None,
    png: Annotated[
        str | None,
        options.choice(
            "--png",
            tuple(HU_WINDOWS),
            "Also write the slice as 8-bit PNG in this HU window.",
            rich_help_panel=PICTURES,
        ),
    ] = None,
    profiles: Annotated[
        bool,
        typer.Option(
            "--profiles",
            help="Also draw each scan's mass profiles and what was kept, profiles/<case>.png.",
            rich_help_panel=PICTURES,
        ),
    ] = False,
    keep_ids: options.KeepIds = False,
    key_file: options.KeyFile = None,
    seed: options.Seed = 0,
    workers: options.Workers = 0,
    shard: options.Shard = "0/1",
    resume: options.Resume = False,
    keep_going: options.KeepGoing = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
) -> Result:
    """Select the slices of one folder of scans."""
    from lungct.ct.select import Rule, rule_of
    from lungct.preprocessing.cases import Running
    from lungct.preprocessing.flat_slices import refuse_scan_options
    from lungct.preprocessing.scan_slices import SelectOptions
    from lungct.preprocessing.select_slices import plan_select_slices, select_slices
    from lungct.preprocessing.shard import Shard
    from lungct.sources.pseudonym import Naming

    numbers = {"fraction": fraction, "min_hu": min_hu, "k": k, "window_slices": window_slices}
    of_scans = {"method": method, **numbers, "negatives": negatives, "hard_negatives": hard_negatives}
    given = [name for name, value in {**of_scans, "profiles": profiles or None}.items() if value is not None]
    refuse_scan_options(out, ["--" + name.replace("_", "-") for name in given])
    wanted = SelectOptions(
        rule=rule_of(method or Rule.method, **numbers),
        context=context,
        negatives=SelectOptions.negatives if negatives is None else negatives,
        seed=seed,
        hard_negatives=hard_negatives,
        exclude=exclude,
        png=png,
        profiles=profiles,
    )
    naming, share = Naming.of(keep_ids, key_file), Shard(*options.shard_of(shard))
    if dry_run:
        plan = plan_select_slices(out, slices, wanted, naming=naming, overwrite=overwrite, shard=share)
        return Result(data=plan)
    with streams.progress() as progress:
        running = Running(workers, keep_going, resume, overwrite, progress, share)
        summary = select_slices(out, slices, wanted, running, naming=naming)
    return Result(output=slices, data=summary.facts(), failed=summary.failed)
