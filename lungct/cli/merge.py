"""Join the shards of one run.

The folders that preprocess, select-slices, predict or explain wrote under --shard, all of one run and in any order,
become the folder that it would have written without --shard, byte for byte: records, rows and COCO ids are in the
order of the whole. Files are linked where the file system allows it, so nothing is held twice. Shards of different
options, versions or sources are refused, and so is a shard that is missing or given twice. Shares of a game, whose
tables are statistics over all patients, are joined by lungct segmentation-game --join.

Example: lungct merge out-0 out-1 out-2 out
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lungct.cli import options, streams
from lungct.cli.result import Result


def run(
    shards: Annotated[list[Path], typer.Argument(help="Every shard's folder.")],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
) -> Result:
    """Check the shards and join them."""
    from lungct.preprocessing.merge import merge, plan_merge

    options.refuse_output_over_input([*shards, out])
    if dry_run:
        return Result(data=plan_merge(shards, out, overwrite=overwrite).facts())
    with streams.progress() as progress:
        summary = merge(shards, out, overwrite=overwrite, progress=progress)
    return Result(output=out, data=summary.facts())
