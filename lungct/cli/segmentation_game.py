"""Score heatmaps by where they are bright.

The segmentation game, with chance, ceiling, controls and the true mask beside every method. Each rule sets a map's
brightest pixels, or its mass, against the true nodule that its detection found; false positives are scored against
their own box, apart. Maps may come from any tool, in folders named as their methods:

<method>/<image id>.npz with heatmaps (D, Y, X) and boxes_xyxy_px (D, 4);
<method>/<image id>.png for all true boxes of an image, <image id>_<n>.png for the n-th, from 0;
<method>/<case id>.nii.gz over a whole scan, with its affine, whose images name their plane in lungct.z_index.

<image id> is the image's id in the COCO file, its lungct.image_id or its picture's name; what two images share is
refused.

The truth is a COCO file whose images may name a patient, a case and a pixel spacing: lungct: {patient_id, case_id,
spacing_mm}; crowd regions are left out. With --shape mask nodules are COCO segmentations, or --masks holds <image
id>.png, .npz (array mask) or <case id>.nii.gz. 'lungct info' lists the rules; each one's file states its formula and
source.

--faithfulness RUN asks the model itself, through the scorers of lungct explain, detection by detection: deletion and
insertion in 100 steps over the box's area (ODAM), average drop and increase, ROAD, max-sensitivity under the slice's
own noise, and sanity under randomised weights. After three images it says what the rest takes, in seconds of all
processors together, which hold on a busy machine too, and on the clock; --measure picks some, --dry-run only tells. A
map that is bright in the right place but marks nothing that moves the score explains nothing.

--rules thesis plays the three published rules with their flaws: fixed takes every pixel at or above the percentile, so
a constant map selects all; adaptive and inverse-distance look at the image's first box alone, truncate the number of
pixels and break ties in raster order; a map that failed counts as 0.

--shard I/N plays a share of the patients. The game with the same arguments and --join on each share's folder makes the
tables of the whole from their scores; lungct merge is for other stages.

References: Zhang 2018; Wang 2020; Arras 2022; Choe 2020; Petsiuk 2018; Zhao & Chan 2023; Rong 2022; Yeh 2019; Adebayo
2018; Demsar 2006; Field & Welsh 2007; Hesterberg 2015.

Example: lungct segmentation-game heatmaps/ slices/test.json game/ --rule adaptive --rule auprc
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lungct import registry
from lungct.cli import options, streams
from lungct.cli.result import Result, Table
from lungct.errors import UsageError

Version = Annotated[
    str, options.choice("--rules", ("repaired", "thesis"), "Exact ties and boxes, or the rules as published.")
]
Rules = Annotated[
    list[str] | None,
    options.choice(
        "--rule",
        (*registry.RULES, *registry.MAP_MEASURES),
        "Play this rule; may be repeated. None: all that need no more.",
    ),
]
Faithfulness = Annotated[
    Path | None,
    typer.Option(
        "--faithfulness",
        metavar="RUN",
        help="Model that the maps are of: measure faithfulness, robustness, sanity too.",
    ),
]
Measures = Annotated[
    list[str] | None,
    options.choice("--measure", tuple(registry.FAITHFULNESS), "Of --faithfulness only this; may be repeated."),
]
Steps = Annotated[int, typer.Option("--steps", min=2, help="Steps of the deletion and insertion curves.")]
NoiseDraws = Annotated[int, typer.Option("--noise-draws", min=1, help="Noisy copies of a slice for max-sensitivity.")]
Scorer = Annotated[
    str, options.choice("--scorer", ("roi", "match"), "Read the score at the fixed place, or re-detect.")
]
Override = Annotated[
    bool, typer.Option("--override", help="Judge on slices of another spacing or HU range than the training's, too.")
]
Shape = Annotated[str, options.choice("--shape", registry.NODULE_SHAPES, "What counts as a nodule's pixels.")]
Masks = Annotated[
    Path | None, typer.Option("--masks", metavar="DIR", help="True masks for --shape mask, in place of COCO's own.")
]
OfDetections = Annotated[
    Path | None,
    typer.Option("--detections", metavar="FILE", help="COCO results that PNG and NIfTI maps are of; none: true boxes."),
]
Validation = Annotated[
    Path | None,
    typer.Option("--validation", metavar="DIR", help="Heatmaps of another split, to tune iou-validated on."),
]
ValidationTruth = Annotated[Path, typer.Option("--validation-truth", metavar="FILE", help="COCO file of that split.")]
Controls = Annotated[
    bool,
    typer.Option("--controls/--no-controls", help="Score maps that explain nothing, and the true mask, beside them."),
]
Bootstrap = Annotated[int, typer.Option("--bootstrap", min=0, help="Draws over patients for the intervals; 0: none.")]
Figures = Annotated[bool, typer.Option("--figures/--no-figures", help="Draw figures beside the tables.")]
Shard = Annotated[
    str | None,
    typer.Option("--shard", metavar="I/N", help="Only the I-th of N shares of the patients, I from 0; see --join."),
]
Join = Annotated[
    list[Path] | None,
    typer.Option("--join", metavar="DIR", help="Take scores from this shard of the same game; may be repeated."),
]


def run(
    heatmaps: Annotated[Path, options.input_path("Folder of heatmaps, a folder a method.")] = Path("heatmaps"),
    truth: Annotated[Path, typer.Argument(help="COCO file with the true boxes.")] = Path("slices/test.json"),
    out: Annotated[Path, typer.Argument(help="Folder to write.")] = Path("game"),
    rules: Version = "repaired",
    rule: Rules = None,
    faithfulness: Faithfulness = None,
    measure: Measures = None,
    steps: Steps = 100,
    noise_draws: NoiseDraws = 4,
    scorer: Scorer = "roi",
    override: Override = False,
    shape: Shape = "box",
    masks: Masks = None,
    detections: OfDetections = None,
    validation: Validation = None,
    validation_truth: ValidationTruth = Path("slices/val.json"),
    controls: Controls = True,
    bootstrap: Bootstrap = 2000,
    figures: Figures = True,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    threads: options.Threads = 0,
    shard: Shard = None,
    join: Join = None,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
) -> Result:
    """Play the game."""
    from lungct.game.options import FaithOptions, GameOptions
    from lungct.game.run import plan, segmentation_game

    if measure and faithfulness is None:
        raise UsageError("--measure picks what --faithfulness measures", "name the model with --faithfulness")
    if masks is not None and shape != "mask":
        raise UsageError("--masks are true masks for --shape mask", "add it, or leave out --masks")
    judged = None
    if faithfulness is not None:
        judged = FaithOptions(
            faithfulness,
            tuple(measure or ()),
            steps=steps,
            draws=noise_draws,
            scorer=scorer,
            override=override,
            device=device,
            threads=threads,
        )
    wanted = GameOptions(
        rules=rules,
        names=tuple(rule or ()),
        faithfulness=judged,
        shape=shape,
        masks=masks,
        detections=detections,
        controls=controls,
        validation=None if validation is None else (validation, validation_truth),
        bootstrap=bootstrap,
        seed=seed,
        shard=None if shard is None else options.shard_of(shard),
    )
    if dry_run:
        sizes = plan(heatmaps, truth, wanted)
        return Result(data=sizes, tables=[Table(tuple(sizes), [[str(value) for value in sizes.values()]])])
    with streams.progress() as progress:
        summary = segmentation_game(
            heatmaps,
            truth,
            out,
            wanted,
            join=tuple(join or ()),
            figures=figures,
            overwrite=overwrite,
            resume=resume,
            progress=progress,
        )
    return Result(output=out, data=summary, tables=[_table(summary)])


def _table(summary: dict[str, Any]) -> Table:
    columns = ("rule", "method", "mean", "chance", "ceiling", "normalised", "n", "failed")
    rows = [["-" if row[name] is None else row[name] for name in columns] for row in summary["rows"]]
    return Table(columns, rows, str(summary["note"]))
