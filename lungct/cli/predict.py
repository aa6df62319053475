"""Find nodules with a trained model.

On slices or on whole scans: a COCO file gives a COCO results file. A scan, a folder of scans (raw, or of lungct
preprocess) or of DICOM series is brought to the model's spacing in memory; every slice is searched, overlapping boxes
of neighbouring slices are linked, and a folder is written: nodules.csv (a LUNA16 submission with box and slice
range), detections.json, manifest.ndjson. OUT is detections.json or nodules/ if left out. What --tta sees in several
views, and what the models of --ensemble find, is joined by weighted box fusion (Solovyev 2021).

Example: lungct predict run/ slices/test.json detections.json
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lungct.cli import options, streams
from lungct.cli.result import Result, Table
from lungct.registry import FUSE_IOU, LINKINGS, TTA

SCANS = "Scans"
TOGETHER = "Views and models together"


def run(
    model: Annotated[Path, options.input_path("Run folder of lungct train, or its .safetensors file.")] = Path("run"),
    source: Annotated[Path, options.input_path("COCO file, scan, or folder of scans.")] = Path("slices/test.json"),
    out: Annotated[Path | None, typer.Argument(help="File (of slices) or folder (of scans) to write.")] = None,
    score_threshold: Annotated[
        float, typer.Option("--score-threshold", min=0, max=1, help="Lowest score that is written.")
    ] = 0.05,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Slices per network pass.")] = 4,
    override: Annotated[
        bool, typer.Option("--override", help="Run on slices of another spacing or HU range than trained on.")
    ] = False,
    link_by: Annotated[
        str, options.choice("--link-by", LINKINGS, "Overlap that links boxes.", rich_help_panel=SCANS)
    ] = LINKINGS[0],
    link_overlap: Annotated[
        float, typer.Option("--link-overlap", min=0.01, max=1, help="Least overlap to link.", rich_help_panel=SCANS)
    ] = 0.5,
    gap_mm: Annotated[
        float,
        typer.Option("--gap-mm", min=0, help="Largest distance of two slices that are linked.", rich_help_panel=SCANS),
    ] = 2.5,
    tta: Annotated[
        str, options.choice("--tta", tuple(TTA), "Views of a slice to look at.", rich_help_panel=TOGETHER)
    ] = "none",
    ensemble: Annotated[
        list[Path] | None,
        typer.Option("--ensemble", help="Run that detects with the first; repeatable.", rich_help_panel=TOGETHER),
    ] = None,
    fuse_iou: Annotated[
        float,
        typer.Option(
            "--fuse-iou", min=0.01, max=1, help="IoU from which boxes are of one thing.", rich_help_panel=TOGETHER
        ),
    ] = FUSE_IOU,
    keep_ids: options.KeepIds = False,
    key_file: options.KeyFile = None,
    device: options.Device = "auto",
    threads: options.Threads = 0,
    shard: options.Shard = "0/1",
    keep_going: options.KeepGoing = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
) -> Result:
    """Detect, link and write."""
    from lungct.inference import predict as inference
    from lungct.inference.link import LinkOptions
    from lungct.preprocessing.shard import Shard
    from lungct.sources.pseudonym import Naming

    naming, share = Naming.of(keep_ids, key_file), Shard(*options.shard_of(shard))
    if dry_run:
        planned = inference.plan_predict(model, source, out, naming=naming, overwrite=overwrite, shard=share)
        facts = {"output": str(planned.output), **planned.facts()}
        return Result(data=facts, tables=[Table(tuple(facts), [tuple(facts.values())], "to predict")])
    linking = LinkOptions(link_by, link_overlap, gap_mm)
    wanted = inference.PredictOptions(
        batch,
        score_threshold,
        device,
        threads,
        override,
        linking,
        keep_going,
        naming,
        share,
        tuple(ensemble or ()),
        tta,
        fuse_iou,
    )
    with streams.progress() as progress:
        done = inference.predict(model, source, out, wanted, overwrite=overwrite, progress=progress)
    return Result(output=done.output, data=done.facts(), failed=done.failed)
