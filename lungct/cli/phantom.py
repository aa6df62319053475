"""Write synthetic chest CT with known nodules.

The layout is DLCS24's: NIfTI and DLCSD24_Annotations.csv. Each phantom has body, ribs, spine, heart, vessels, airways
and fissures; nodules differ in size, density, margin and place, and their truth is exact.

Example: lungct phantom dlcs/ --patients 8 --seed 1
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lungct.cli import options, streams
from lungct.cli.result import Result


def run(
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    patients: Annotated[int, typer.Option("--patients", min=1, help="Number of patients, one scan each.")] = 8,
    size: Annotated[int, typer.Option("--size", min=64, help="Pixels along x and y.")] = 256,
    slices: Annotated[int, typer.Option("--slices", min=16, help="Slices along z.")] = 120,
    median_diameter: Annotated[
        float, typer.Option("--median-diameter", min=4, max=30, help="Median diameter of the nodules, mm.")
    ] = 8.0,
    masks: Annotated[bool, typer.Option("--masks", help="Also write the voxel mask of each nodule.")] = False,
    seed: options.Seed = 0,
    workers: options.Workers = 0,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
) -> Result:
    """Write the phantoms."""
    from lungct.phantom.dataset import PhantomOptions, write_phantoms

    wanted = PhantomOptions(
        patients=patients, size=size, slices=slices, median_mm=median_diameter, masks=masks, seed=seed
    )
    if dry_run:
        return Result(data=wanted.plan())
    with streams.progress() as progress:
        summary = write_phantoms(out, wanted, workers=workers, overwrite=overwrite, progress=progress)
    return Result(output=out, data=summary)
