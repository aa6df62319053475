"""Bring scans to one orientation, spacing, HU range.

Scans of any known layout, with their nodule boxes. Writes scans/<case>.nii.gz (int16 HU), nodules.csv (DLCS24 columns,
LPS mm) and manifest.ndjson, and excluded.csv (LUNA16 columns) where a source has findings that count neither way; a
folder of 2D slices with boxes becomes images/<image>.npz and slices.json. The layout is found by looking at the folder.
A voxel keeps its place in the world: grids are aligned at their edges, so boxes need no change, nor do they where a
scan is cut to its lungs. Enhanced slices are HU in the range of --hu-clip again: LO + (HI - LO) x gray. Cases and
patients whose names may be identifiers get pseudonyms, in the output and in every message; those of public data sets,
and plain numbers such as scan_12, stay. Whoever has the key (--key-file, or the environment variable
LUNGCT_PSEUDONYM_KEY) gets the same pseudonyms again. The key is not written.

Example: lungct preprocess dlcs/ out/ --spacing 0.703125,0.703125,1.25
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lungct.cli import options, streams
from lungct.cli.result import Result
from lungct.registry import (
    CSV_FRAMES,
    ENHANCEMENTS,
    HU_CLIP,
    HU_WINDOWS,
    LIDC_READERS,
    LONGEST_GAP_MM,
    LUNG_MASKS,
    MISSING_SLICES,
    SOURCES,
    SPACING_MM_XYZ,
    VOC_CORNERS,
)

GRID = "Volumes"
FLAT = "2D slices"
LOOK = "Lungs and contrast"


def run(
    path: Annotated[Path, options.input_path("Folder of scans or slices, or one volume.")],
    out: Annotated[Path, typer.Argument(help="Folder to write.")] = Path("out"),
    source: Annotated[
        str | None, options.choice("--source", tuple(SOURCES), "Layout of the source; found by itself if left out.")
    ] = None,
    spacing: Annotated[
        str, typer.Option("--spacing", metavar="X,Y,Z|native", help="Voxel spacing in mm.", rich_help_panel=GRID)
    ] = ",".join(map(str, SPACING_MM_XYZ)),
    hu_clip: Annotated[
        str,
        typer.Option(
            "--hu-clip", metavar="LO,HI|NAME", help=f"Lowest and highest HU kept, or one of {', '.join(HU_WINDOWS)}."
        ),
    ] = f"{HU_CLIP[0]},{HU_CLIP[1]}",
    csv_frame: Annotated[
        str,
        options.choice(
            "--csv-frame",
            CSV_FRAMES,
            "What the coordinates of a nodule table are: LPS mm, RAS mm, or 0-based voxel indices of the scan's file.",
            rich_help_panel=GRID,
        ),
    ] = CSV_FRAMES[0],
    missing_slices: Annotated[
        str,
        options.choice(
            "--missing-slices",
            MISSING_SLICES,
            f"Of a DICOM series: refuse it, or fill gaps of at most {LONGEST_GAP_MM:g} mm, named in the manifest.",
            rich_help_panel=GRID,
        ),
    ] = MISSING_SLICES[0],
    lidc_readers: Annotated[
        int,
        typer.Option(
            "--lidc-readers",
            min=1,
            max=4,
            help="LIDC-IDRI: readers who must have drawn a nodule.",
            rich_help_panel=GRID,
        ),
    ] = LIDC_READERS,
    lung_mask: Annotated[
        str | None,
        options.choice(
            "--lung-mask",
            tuple(LUNG_MASKS),
            "Write lungs/<case>.nii.gz: 1 in the right lung, 2 in the left.",
            rich_help_panel=LOOK,
        ),
    ] = None,
    crop_to_lungs: Annotated[
        float | None,
        typer.Option(
            "--crop-to-lungs",
            metavar="MM",
            min=0,
            max=1000,
            help="Cut scans to the lungs' box and so much around it; a nodule that is cut is warned of.",
            rich_help_panel=LOOK,
        ),
    ] = None,
    enhance: Annotated[
        str | None,
        options.choice(
            "--enhance",
            tuple(ENHANCEMENTS),
            "Gamma 1.35 and CLAHE 2.5, or CLAHE 2.5 and bilateral 100 HU; the numbers below go before.",
            rich_help_panel=LOOK,
        ),
    ] = None,
    gamma: Annotated[
        float | None,
        typer.Option(
            "--gamma",
            min=0.1,
            max=10,
            help="Exponent of the gray within --hu-clip, such as 1.35.",
            rich_help_panel=LOOK,
        ),
    ] = None,
    clahe: Annotated[
        float | None,
        typer.Option(
            "--clahe",
            metavar="CLIP",
            min=1,
            max=256,
            help="Clip limit on 8 x 8 tiles, such as 2.5.",
            rich_help_panel=LOOK,
        ),
    ] = None,
    bilateral: Annotated[
        float | None,
        typer.Option(
            "--bilateral", metavar="HU", min=1, max=5000, help="Smooth what differs by less HU.", rich_help_panel=LOOK
        ),
    ] = None,
    window_2d: Annotated[
        str,
        typer.Option("--window-2d", metavar="LO,HI|NAME", help="HU of gray 0 and gray 255.", rich_help_panel=FLAT),
    ] = "-1000,400",
    pixel_spacing_2d: Annotated[
        float | None,
        typer.Option("--pixel-spacing-2d", min=0.01, help="Pixel spacing in mm, if known.", rich_help_panel=FLAT),
    ] = None,
    voc_corners: Annotated[
        str,
        options.choice(
            "--voc-corners",
            VOC_CORNERS,
            "What box corners are: 0-based pixel centres, 1-based inclusive pixels, or edges.",
            rich_help_panel=FLAT,
        ),
    ] = VOC_CORNERS[0],
    size_2d: Annotated[
        str | None,
        typer.Option("--size-2d", metavar="W,H", help="Resize images and boxes to this.", rich_help_panel=FLAT),
    ] = None,
    keep_ids: options.KeepIds = False,
    key_file: options.KeyFile = None,
    workers: options.Workers = 0,
    shard: options.Shard = "0/1",
    resume: options.Resume = False,
    keep_going: options.KeepGoing = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
) -> Result:
    """Preprocess one source."""
    from lungct.ct.enhance import Enhancement
    from lungct.preprocessing.cases import Running
    from lungct.preprocessing.lungs import LungOptions
    from lungct.preprocessing.preprocess import PreprocessOptions, plan_preprocess, preprocess
    from lungct.preprocessing.scans import VolumeOptions
    from lungct.preprocessing.shard import Shard
    from lungct.sources.pseudonym import Naming
    from lungct.sources.source import SourceOptions

    wanted = PreprocessOptions(
        source=source,
        volume=VolumeOptions(options.spacing_of(spacing, "--spacing"), LungOptions(lung_mask, crop_to_lungs)),
        hu_clip=options.window_of(hu_clip, "--hu-clip"),
        enhancement=Enhancement.of(enhance, gamma=gamma, clahe=clahe, bilateral_hu=bilateral),
        size_2d=None if size_2d is None else options.size_of(size_2d, "--size-2d"),
        reading=SourceOptions(
            window_hu=options.window_of(window_2d, "--window-2d"),
            pixel_spacing_mm=pixel_spacing_2d,
            voc_corners=voc_corners,
            csv_frame=csv_frame,
            naming=Naming.of(keep_ids, key_file),
            lidc_readers=lidc_readers,
            missing_slices=missing_slices,
        ),
    )
    share = Shard(*options.shard_of(shard))
    if dry_run:
        return Result(data=plan_preprocess(path, out, wanted, overwrite=overwrite, shard=share).facts())
    with streams.progress() as progress:
        running = Running(workers, keep_going, resume, overwrite, progress, share)
        summary = preprocess(path, out, wanted, running)
    return Result(output=out, data=summary.facts(), failed=summary.failed)
