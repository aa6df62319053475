"""Say why each detection was made, as a heatmap.

Writes a map per detection and method, as NPZ and as PNG overlay. EigenCAM shows where the features of the detection's
pyramid level are strong; Score-CAM weighs each channel by the score that the detection keeps when the image is masked
with it. The controls explain nothing and show what a localisation score is worth.

References: EigenCAM, Muhammad & Yeasin 2020; Score-CAM, Wang 2020.

Example: lungct explain run/ slices/test.json heatmaps/ --method eigencam --method scorecam
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lungct import registry
from lungct.cli import options, streams
from lungct.cli.result import Result, Table

Model = Annotated[Path, options.input_path("Run folder of a trained model, or its .safetensors.")]
Slices = Annotated[Path, typer.Argument(help="COCO file of the slices.")]
Out = Annotated[Path, typer.Argument(help="Folder to write; each method has its own in it.")]
Methods = Annotated[
    list[str] | None,
    options.choice("--method", tuple(registry.METHODS), "Method, repeatable; eigencam where none is given."),
]
Top = Annotated[int, typer.Option("--top", min=1, help="Detections explained per image, best first.")]
Threshold = Annotated[float, typer.Option("--score-threshold", min=0, max=1, help="Lowest score that is explained.")]
Given = Annotated[Path | None, typer.Option("--detections", help="COCO results to explain; else the model detects.")]
MaxImages = Annotated[
    int | None, typer.Option("--max-images", min=1, help="Only so many images, from all patients in turn.")
]
ImageIds = Annotated[list[str] | None, typer.Option("--image-id", help="Only this image, repeatable.")]
Level = Annotated[
    str, options.choice("--level", ("auto", "0", "1", "2"), "Pyramid level read; auto: each detection's own.")
]
Scorer = Annotated[
    str, options.choice("--scorer", ("roi", "match"), "Score a changed image at the fixed box, or detect anew.")
]
Weights = Annotated[
    str, options.choice("--weights", ("linear", "softmax"), "Score-CAM's weights; softmax is the paper's.")
]
Baseline = Annotated[
    str, options.choice("--baseline", ("zero", "mean"), "What Score-CAM masks with; zero is air in a lung window.")
]
Centred = Annotated[bool, typer.Option("--centred", help="EigenCAM of activations less their channel's mean.")]
Batch = Annotated[int, typer.Option("--batch", min=0, help="Masked images per forward pass; 0: as many as pay.")]
Amp = Annotated[
    str, options.choice("--amp", ("auto", "off", "bf16", "fp16"), "Number format of Score-CAM's masked passes.")
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
    max_images: MaxImages = None,
    image_id: ImageIds = None,
    level: Level = "auto",
    scorer: Scorer = "roi",
    weights: Weights = "linear",
    baseline: Baseline = "zero",
    centred: Centred = False,
    batch: Batch = 0,
    amp: Amp = "off",
    override: Override = False,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    threads: options.Threads = 0,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    dry_run: options.DryRun = False,
) -> Result:
    """Explain the detections."""
    from lungct.explain.base import MethodOptions
    from lungct.explain.plan import plan
    from lungct.explain.run import ExplainOptions, explain

    wanted = ExplainOptions(
        methods=tuple(dict.fromkeys(method or ["eigencam"])),
        top=top,
        score_threshold=score_threshold,
        max_images=max_images,
        image_ids=tuple(image_id or ()),
        level=level,
        scorer=scorer,
        amp=amp,
        override=override,
        detections=detections,
        device=device,
        threads=threads,
        method=MethodOptions(centred=centred, weights=weights, baseline=baseline, batch=batch, seed=seed),
    )
    if dry_run:
        cost = plan(model, slices, wanted)
        columns = ("images", "passes_per_image", "passes", "seconds_per_image", "seconds")
        return Result(data=cost, tables=[Table(columns, [[cost[name] for name in columns]], "Estimated cost")])
    with streams.progress() as progress:
        summary = explain(model, slices, out, wanted, overwrite=overwrite, resume=resume, progress=progress)
    return Result(output=out, data=summary)
