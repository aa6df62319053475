"""Write a trained detector as ONNX or torch.export.

OUT ends in .onnx or .pt2. The graph takes one stack of HU, (channels, rows, columns) float32, of one size, and gives
boxes (pixel edges), scores and COCO categories; window, magnification and non-maximum suppression are inside. Its
answer for a sample slice is compared with the model's before it is written, and the differences are stored in it.

Example: lungct export run/ model.onnx --sample slices/test.json
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lungct.cli import options
from lungct.cli.result import Result, Table


def run(
    model: Annotated[Path, options.input_path("Run folder of lungct train, or its .safetensors file.")] = Path("run"),
    out: Annotated[Path, typer.Argument(help="File to write, .onnx or .pt2.")] = Path("model.onnx"),
    size: Annotated[
        str, typer.Option("--size", metavar="WIDTH,HEIGHT", help="Of the slices, pixels; a sample's own if given.")
    ] = "512,512",
    sample: Annotated[
        Path | None, typer.Option("--sample", metavar="FILE", help="COCO file or NPZ slice to compare on.")
    ] = None,
    score_threshold: Annotated[
        float | None, typer.Option("--score-threshold", min=0, max=1, help="Lowest score answered; the model's if not.")
    ] = None,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
) -> Result:
    """Export."""
    size_xy = options.size_of(size, "--size")
    from lungct.inference.export import export, plan_export

    if dry_run:
        planned = plan_export(model, out, overwrite=overwrite)
        return Result(data=planned, tables=[Table(("what", "value"), list(planned.items()), "Would export")])
    facts = export(model, out, size_xy=size_xy, score_threshold=score_threshold, sample=sample, overwrite=overwrite)
    own, exported = facts["detections"]
    shown = {**facts, "detections": f"{exported} of the graph, {own} of the model"}
    shown |= {f"{name} apart": f"{shown.pop(name):.1g}" for name in ("boxes_px", "scores")}
    return Result(output=out, data=facts, tables=[Table(("what", "value"), list(shown.items()), "Exported")])
