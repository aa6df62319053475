"""Say why each detection was made, as a heatmap.

Writes a map per detection and method, as NPZ and as PNG overlay. ODAM, the default, shows where the features at the
detection's own place raise its score. EigenCAM shows where features are strong, whatever was asked. The Score-CAM
family weighs each channel by the score that the detection keeps when the image is masked with it; the Grad-CAM family
by gradients; Ablation-CAM and Recipro-CAM by what is left without a channel or with one cell alone. D-RISE and
occlusion look at the network from outside. The controls explain nothing and show what a localisation score is worth.

Each method's folder holds <image_id>.npz, an overlay per map (<image_id>_<n>.png) and index.ndjson, a line per map with
its flag; contact_sheets/ holds a picture per patient, detections by methods. Other tools' maps are read where ours are
if their NPZ has heatmaps (D, Y, X) in 0..1 and boxes_xyxy_px (D, 4), in pixel edges; image_id, method, scores (D,) and
labels (D,) are optional.

--nifti writes nifti/<case>_<method>.nii.gz on the grid that the scan had before preprocessing, and
<case>_boxes.nii.gz, the boxes as labels. A map lies on its own slice; between explained slices of one nodule that are
at most 2.5 mm apart heat is linear, beyond its outermost slices it holds for half a slice, and elsewhere it is 0. To
open them over the scan:
Slicer --python-script heatmaps/eigencam/nifti/slicer.py CASE scan.nii.gz
or itksnap -g scan.nii.gz -o CASE_eigencam.nii.gz -s CASE_boxes.nii.gz -l CASE_labels.txt

References: ODAM, Zhao & Chan 2023; EigenCAM, Muhammad & Yeasin 2020; Score-CAM, Wang 2020; SS-CAM and IS-CAM, Naidu
2020; Grad-CAM, Selvaraju 2017; Grad-CAM++, Chattopadhay 2018; HiResCAM, Draelos & Carin 2021; LayerCAM, Jiang 2021;
Ablation-CAM, Desai & Ramaswamy 2020; Recipro-CAM, Byun & Lee 2022; D-RISE, Petsiuk 2021; occlusion, Zeiler & Fergus
2014; --explain-channels, Shapley 1953, Lundberg & Lee 2017.

Example: lungct explain run/ slices/test.json heatmaps/ --method eigencam --method scorecam
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lungct import registry
from lungct.cli import options, streams
from lungct.cli.result import Result, Table
from lungct.errors import UsageError

Model = Annotated[Path, options.input_path("Run folder of a trained model, or its .safetensors.")]
Slices = Annotated[Path, typer.Argument(help="COCO file of the slices.")]
Out = Annotated[Path, typer.Argument(help="Folder to write; each method has its own in it.")]
Methods = Annotated[
    list[str] | None,
    options.choice(
        "--method", tuple(registry.METHODS), f"Method, repeatable; {registry.DEFAULT_METHOD} where none is given."
    ),
]
Top = Annotated[int, typer.Option("--top", min=1, help="Detections explained per image, best first.")]
Threshold = Annotated[float, typer.Option("--score-threshold", min=0, max=1, help="Lowest score that is explained.")]
Given = Annotated[Path | None, typer.Option("--detections", help="COCO results to explain; else the model detects.")]
Outcomes = Annotated[
    list[str] | None,
    options.choice(
        "--which",
        registry.OUTCOMES,
        "Found (tp), false (fp) or missed (fn) boxes, repeatable; tp and fp where none is given.",
    ),
]
Numbers = Annotated[
    list[int] | None,
    typer.Option("--number", min=0, help="Only this detection of each image, 0 the best; repeatable."),
]
Per = Annotated[str, options.choice("--per", registry.PER, "A map for each, or one for all of a class or an image.")]
MaxImages = Annotated[
    int | None, typer.Option("--max-images", min=1, help="Only so many images, from all patients in turn.")
]
ImageIds = Annotated[list[str] | None, typer.Option("--image-id", help="Only this image, repeatable.")]
Level = Annotated[
    str,
    options.choice(
        "--level",
        registry.LEVELS,
        "Pyramid level read: auto is the detection's own, lateral what its trunk gives to it.",
    ),
]
Scorer = Annotated[
    str,
    options.choice(
        "--scorer",
        ("auto", "roi", "match"),
        "Score a changed image at the fixed place, or detect anew; auto: roi, but for D-RISE its own.",
    ),
]
Target = Annotated[
    str, options.choice("--target", tuple(registry.TARGETS), "What of a detection is explained; box: network pixels.")
]
Weights = Annotated[
    str, options.choice("--weights", tuple(registry.WEIGHTS), "The Score-CAM family's weights; softmax is the paper's.")
]
Baseline = Annotated[
    str, options.choice("--baseline", tuple(registry.BASELINES), "What is hidden becomes this; zero is air.")
]
Preset = Annotated[
    str, options.choice("--preset", tuple(registry.SSCAM_PRESETS), "SS-CAM's noise: the paper's 2, or the thesis's .1.")
]
Samples = Annotated[
    int, typer.Option("--samples", min=0, help="Passes per channel of SS-CAM (35) and IS-CAM (10); 0: their own.")
]
Masks = Annotated[int, typer.Option("--masks", min=0, help="Masks of D-RISE; 0: the paper's 5000.")]
PatchMm = Annotated[float, typer.Option("--patch-mm", min=0.1, help="Side of occlusion's patch, mm.")]
StrideMm = Annotated[float, typer.Option("--stride-mm", min=0, help="How far the patch moves, mm; 0: half its side.")]
Approximate = Annotated[
    str,
    options.choice(
        "--approximate", ("none", *registry.APPROXIMATIONS), "A named approximation; the maps are not the method's."
    ),
]
Budget = Annotated[
    str | None,
    typer.Option("--budget", help="Time for the run (60s, 5m, 2h): the most masks and samples that fit into it."),
]
Centred = Annotated[bool, typer.Option("--centred", help="EigenCAM of activations less their channel's mean.")]
Batch = Annotated[int, typer.Option("--batch", min=0, help="Changed images per forward pass; 0: as many as pay.")]
Amp = Annotated[
    str, options.choice("--amp", ("auto", "off", "bf16", "fp16"), "Number format of passes on changed images.")
]
Channels = Annotated[
    bool,
    typer.Option(
        "--explain-channels",
        help="Tell also what each slice of the 2.5D stack brings to the score: Shapley values, 2^channels passes.",
    ),
]
NIFTI = "Volumes"
Nifti = Annotated[
    bool, typer.Option("--nifti", help="Write the heat of each scan as NIfTI on its own grid.", rich_help_panel=NIFTI)
]
NiftiForm = Annotated[
    str | None,
    options.choice(
        "--nifti-form",
        ("fused", "per-nodule"),
        "3D, the strongest heat of any nodule, or 4D; fused where nothing is said.",
        rich_help_panel=NIFTI,
    ),
]
NiftiSpace = Annotated[
    str | None,
    options.choice(
        "--nifti-space",
        ("scan", "slices"),
        "Grid of the scan before preprocessing, or of what preprocess wrote; the scan's where nothing is said.",
        rich_help_panel=NIFTI,
    ),
]
Pictures = Annotated[
    bool,
    typer.Option("--pictures/--no-pictures", help="Draw overlays and contact sheets.", rich_help_panel=options.OUTPUT),
]
Override = Annotated[bool, typer.Option("--override", help="Take slices unlike those of the training.")]


def run(
    model: Model = Path("run"),
    slices: Slices = Path("slices/test.json"),
    out: Out = Path("heatmaps"),
    method: Methods = None,
    top: Top = 5,
    score_threshold: Threshold = 0.3,
    detections: Given = None,
    which: Outcomes = None,
    number: Numbers = None,
    per: Per = "detection",
    max_images: MaxImages = None,
    image_id: ImageIds = None,
    level: Level = "auto",
    scorer: Scorer = "auto",
    target: Target = "score",
    weights: Weights = "linear",
    baseline: Baseline = "zero",
    centred: Centred = False,
    preset: Preset = "paper",
    samples: Samples = 0,
    masks: Masks = 0,
    patch_mm: PatchMm = registry.PATCH_MM,
    stride_mm: StrideMm = 0.0,
    approximate: Approximate = "none",
    budget: Budget = None,
    batch: Batch = 0,
    amp: Amp = "off",
    override: Override = False,
    explain_channels: Channels = False,
    nifti: Nifti = False,
    nifti_form: NiftiForm = None,
    nifti_space: NiftiSpace = None,
    pictures: Pictures = True,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    threads: options.Threads = 0,
    shard: options.Shard = "0/1",
    keep_going: options.KeepGoing = False,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    dry_run: options.DryRun = False,
) -> Result:
    """Explain the detections."""
    from lungct.explain.base import MethodOptions
    from lungct.explain.budget import seconds_in, within
    from lungct.explain.choose import DETECTED
    from lungct.explain.options import ExplainOptions
    from lungct.explain.plan import plan
    from lungct.explain.run import explain
    from lungct.explain.scan_maps import ScanMapOptions
    from lungct.preprocessing.shard import Shard

    if not nifti and (nifti_form or nifti_space):
        flag = "--nifti-form" if nifti_form else "--nifti-space"
        raise UsageError(f"{flag} says how --nifti writes volumes", f"add --nifti, or leave out {flag}")
    wanted = ExplainOptions(
        methods=tuple(dict.fromkeys(method or [registry.DEFAULT_METHOD])),
        top=top,
        score_threshold=score_threshold,
        max_images=max_images,
        image_ids=tuple(image_id or ()),
        level=level,
        scorer=scorer,
        target=target,
        outcomes=tuple(which or DETECTED),
        numbers=tuple(number or ()),
        per=per,
        amp=amp,
        override=override,
        detections=detections,
        channels=explain_channels,
        pictures=pictures,
        volumes=ScanMapOptions(nifti_form or "fused", nifti_space or "scan") if nifti else None,
        keep_going=keep_going,
        shard=Shard(*options.shard_of(shard)),
        device=device,
        threads=threads,
        method=MethodOptions(
            centred=centred,
            weights=weights,
            baseline=baseline,
            batch=batch,
            seed=seed,
            preset=preset,
            samples=samples,
            masks=masks,
            patch_mm=patch_mm,
            stride_mm=stride_mm,
            approximate="" if approximate == "none" else approximate,
        ),
    )
    if budget is not None:
        wanted = within(model, slices, wanted, seconds_in(budget), resumed=out if resume else None)
    if dry_run:
        cost = plan(model, slices, wanted)
        return Result(data=cost, tables=[_cost_table(cost)])
    with streams.progress() as progress:
        summary = explain(model, slices, out, wanted, overwrite=overwrite, resume=resume, progress=progress)
    return Result(output=out, data=summary, tables=[_table(summary)], failed=summary["failed"])


def _cost_table(cost: dict[str, Any]) -> Table:
    columns = ("method", "passes per image", "passes of heads", "s per image")
    rows = [[name, one["passes"], one["head_passes"], one["seconds"]] for name, one in cost["each"].items()]
    rows.append(["with opening", cost["passes_per_image"], "", cost["seconds_per_image"]])
    title = f"{cost['images']} images: {cost['passes']} passes, about {cost['seconds']:g} s at most"
    return Table(columns, rows, title)


def _table(summary: dict[str, Any]) -> Table:
    from lungct.report.flagged_maps import flags_in_words

    columns = ("method", "maps", "flagged", "vanished share")
    rows = [
        [
            name,
            found["maps"],
            flags_in_words(found),
            "-" if found["vanished_share"] is None else found["vanished_share"],
        ]
        for name, found in summary["maps"].items()
    ]
    return Table(columns, rows, f"{summary['detections']} detections on {summary['images']} images")
