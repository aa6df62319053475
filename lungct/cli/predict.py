"""Find nodules with a trained model.

On slices or on whole scans: a COCO file gives a COCO results file. A scan, a folder of scans (raw, or of lungct
preprocess) or of DICOM series is brought to the model's spacing slice by slice, so that memory hardly depends on a
scan's length. Of a scan coarser along z than the model the slices nearest to its own are searched. What is searched of
a slice is where the lungs are, and 10 mm around them; --within body or slice searches more. Overlapping boxes of
neighbouring slices are linked to nodules (Solovyev 2021 for their fusion), and nodules that overlap on the slices they
share, or follow each other after a gap, are joined; a nodule remembers its slices. A folder is written: nodules.csv (a
LUNA16 submission with box, diameter, slices counted from 0, scores and side), detections.json, labels/CASE.nii.gz on
the scan's own grid (a voxel's value is the nodule's number), sheets/CASE.png with every nodule, manifest.ndjson. With
--dicom, of DICOM alone, also dicom/CASE_seg.dcm and _sr.dcm (TID 1500), which carry the identifiers of the source
series: without them no viewer lays them over it. The side comes from lungs/CASE.nii.gz beside the scans, or from
--lung-mask. OUT is detections.json or nodules/ if left out. What --tta sees in several views, and what the models of
--ensemble find, is joined by weighted box fusion, too; stored operating points hold for the way of searching they were
measured with.

Example: lungct predict run/ slices/test.json detections.json
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lungct.cli import options, streams
from lungct.cli.result import Result, Table
from lungct.registry import (
    AMP,
    FUSE_IOU,
    LABEL_SHAPES,
    LINKINGS,
    LUNG_MASKS,
    MIN_EXTENT_MM,
    NODULE_SCORES,
    SEARCHED,
    TTA,
    WITHIN,
)

SCANS = "Scans"
SCORES = "Scores"
TOGETHER = "Views and models together"
NO_LABELS = "none"


def run(
    model: Annotated[Path, options.input_path("Run folder of lungct train, or its .safetensors file.")] = Path("run"),
    source: Annotated[Path, options.input_path("COCO file, scan, or folder of scans.")] = Path("slices/test.json"),
    out: Annotated[Path | None, typer.Argument(help="File (of slices) or folder (of scans) to write.")] = None,
    score_threshold: Annotated[
        float,
        typer.Option(
            "--score-threshold", min=0, max=1, help="Lowest score of a slice's detection.", rich_help_panel=SCORES
        ),
    ] = 0.05,
    fp_per_scan: Annotated[
        float | None,
        typer.Option(
            "--fp-per-scan",
            min=0,
            help="Keep nodules at so many false ones per scan, by the points that evaluate --store-into left in RUN.",
            rich_help_panel=SCORES,
        ),
    ] = None,
    fp_per_slice: Annotated[
        float | None,
        typer.Option(
            "--fp-per-slice", min=0, help="The same of detections of a COCO file, per slice.", rich_help_panel=SCORES
        ),
    ] = None,
    calibrated: Annotated[
        bool,
        typer.Option(
            "--calibrated", help="Write scores as probabilities, by calibration.json in RUN.", rich_help_panel=SCORES
        ),
    ] = False,
    nodule_score: Annotated[
        str,
        options.choice("--nodule-score", NODULE_SCORES, "Probability of a nodule.", rich_help_panel=SCORES),
    ] = NODULE_SCORES[0],
    batch: Annotated[
        int, typer.Option("--batch", min=1, help="Slices per network pass, at most; large ones go one by one on a CPU.")
    ] = 4,
    amp: Annotated[str, options.choice("--amp", AMP, "Number format of the network.")] = AMP[0],
    override: Annotated[
        bool, typer.Option("--override", help="Run on slices of another spacing or HU range than trained on.")
    ] = False,
    searched: Annotated[
        str,
        options.choice(
            "--searched",
            SEARCHED,
            "Slices to search of a scan coarser than the model's grid: those nearest to its own, or all of the grid.",
            rich_help_panel=SCANS,
        ),
    ] = SEARCHED[0],
    within: Annotated[
        str,
        options.choice(
            "--within",
            WITHIN,
            "Part of a scan's slices to search: the lungs (or the body, where two are not found), the body, or all.",
            rich_help_panel=SCANS,
        ),
    ] = WITHIN[0],
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
    join_overlap: Annotated[
        float,
        typer.Option(
            "--join-overlap",
            min=0,
            max=1,
            help="Share of the smaller one's area from which linked nodules are joined; 0 joins none.",
            rich_help_panel=SCANS,
        ),
    ] = 0.5,
    join_gap_mm: Annotated[
        float,
        typer.Option(
            "--join-gap-mm",
            min=0,
            help="Largest gap between joined nodules; one missed slice always may be.",
            rich_help_panel=SCANS,
        ),
    ] = 5.0,
    min_extent_mm: Annotated[
        float,
        typer.Option(
            "--min-extent-mm",
            min=0,
            help="Leave out nodules whose slices span less of the scan along z, but for those that its ends cut off.",
            rich_help_panel=SCANS,
        ),
    ] = MIN_EXTENT_MM,
    drop_outliers: Annotated[
        bool,
        typer.Option(
            "--drop-outliers",
            help="Leave out detections far from the others of the scan (IQR rule); for scans of one nodule.",
            rich_help_panel=SCANS,
        ),
    ] = False,
    labels: Annotated[
        str,
        options.choice("--labels", (*LABEL_SHAPES, NO_LABELS), "Nodules in the label volume.", rich_help_panel=SCANS),
    ] = LABEL_SHAPES[0],
    sheets: Annotated[
        bool, typer.Option("--sheets/--no-sheets", help="Draw a contact sheet per scan.", rich_help_panel=SCANS)
    ] = True,
    dicom: Annotated[
        bool,
        typer.Option(
            "--dicom",
            help="Also write DICOM SEG and SR of a DICOM scan. They carry its patient, dates and UIDs.",
            rich_help_panel=options.PRIVACY,
        ),
    ] = False,
    lung_mask: Annotated[
        str | None,
        options.choice(
            "--lung-mask", tuple(LUNG_MASKS), "Find the lungs where no mask lies by.", rich_help_panel=SCANS
        ),
    ] = None,
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
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            min=0,
            help="Scans that are read ahead while the network runs; 0 reads in between.",
            rich_help_panel=options.EXECUTION,
        ),
    ] = 0,
    shard: Annotated[
        str, options.shard("Only the I-th of N shares of the patients, I from 0, of scans; 'lungct merge' joins them.")
    ] = "0/1",
    resume: options.Resume = False,
    keep_going: options.KeepGoing = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
) -> Result:
    """Detect, link and write."""
    from lungct.inference import predict as inference
    from lungct.inference.join import JoinOptions
    from lungct.inference.link import LinkOptions
    from lungct.preprocessing.shard import Shard
    from lungct.sources.pseudonym import Naming

    wanted = inference.PredictOptions(
        batch=batch,
        amp=amp,
        score_threshold=score_threshold,
        device=device,
        threads=threads,
        workers=workers,
        override=override,
        searched=searched,
        within=within,
        link=LinkOptions(link_by, link_overlap, gap_mm),
        join=JoinOptions(join_overlap, join_gap_mm),
        min_extent_mm=min_extent_mm,
        drop_outliers=drop_outliers,
        nodule_score=nodule_score,
        fp_rate=_rate(source, fp_per_scan, fp_per_slice),
        calibrated=calibrated,
        keep_going=keep_going,
        resume=resume,
        naming=Naming.of(keep_ids, key_file),
        shard=Shard(*options.shard_of(shard)),
        ensemble=tuple(ensemble or ()),
        tta=tta,
        fuse_iou=fuse_iou,
        outputs=inference.ScanOutputs(None if labels == NO_LABELS else labels, sheets, lung_mask, dicom),
    )
    if dry_run:
        planned = inference.plan_predict(model, source, out, wanted, overwrite=overwrite)
        facts = {"output": str(planned.output), **planned.facts()}
        return Result(data=facts, tables=[Table(tuple(facts), [tuple(facts.values())], "to predict")])
    with streams.progress() as progress:
        done = inference.predict(model, source, out, wanted, overwrite=overwrite, progress=progress)
    return Result(output=done.output, data=done.facts(), failed=done.failed)


def _rate(source: Path, per_scan: float | None, per_slice: float | None) -> float | None:
    """The one of the two that fits what is searched."""
    from lungct.errors import UsageError
    from lungct.inference.predict import is_slices

    given, other, names = per_scan, per_slice, ("--fp-per-scan", "--fp-per-slice")
    if is_slices(source):
        given, other, names = per_slice, per_scan, names[::-1]
    if other is not None:
        raise UsageError(f"{names[1]} has no bearing on {source}", f"give {names[0]}")
    return given
