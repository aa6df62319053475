"""The flags of ``lungct train``; those of None have their value from the preset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lungct import registry
from lungct.cli import options

MODEL = "Model"
LEARNING = "Learning"
SHOWING = "What it is shown"

Detector = Annotated[
    str | None,
    options.choice("--detector", tuple(registry.DETECTORS), "Kind of detector.", rich_help_panel=MODEL),
]
Backbone = Annotated[
    str | None,
    options.choice("--backbone", tuple(registry.BACKBONES), "Feature network.", rich_help_panel=MODEL),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="none|imagenet|coco|PATH",
        help="Weights to start from; PATH is a run folder, or .npz, .safetensors, .pt, .pth with torchvision's names.",
        rich_help_panel=MODEL,
    ),
]
Stem = Annotated[
    str | None,
    options.choice(
        "--stem",
        registry.STEMS,
        "First filters for a stack of another depth than the weights'.",
        rich_help_panel=MODEL,
    ),
]
Norm = Annotated[
    str | None,
    options.choice("--norm", registry.NORMS, "Norm layers of the backbone.", rich_help_panel=MODEL),
]
TrainableStages = Annotated[
    int | None,
    typer.Option(
        "--trainable-stages", help="Stages of a pretrained backbone that learn, deepest first.", rich_help_panel=MODEL
    ),
]
Strides = Annotated[
    str | None,
    typer.Option(
        "--strides", metavar="LIST", help="Strides of the pyramid's levels, of 4,8,16,32.", rich_help_panel=MODEL
    ),
]
Anchors = Annotated[
    str | None,
    typer.Option(
        "--anchors",
        metavar="auto|SIDES",
        help="Anchor sides, network px, a level each (6,12,24); auto fits them to the training boxes.",
        rich_help_panel=MODEL,
    ),
]
Magnify = Annotated[
    float | None, typer.Option("--magnify", help="Network pixels per stored pixel.", rich_help_panel=MODEL)
]
HuWindow = Annotated[
    str | None,
    options.choice("--hu-window", tuple(registry.HU_WINDOWS), "HU range shown to it.", rich_help_panel=MODEL),
]
ClassLoss = Annotated[
    str | None,
    options.choice("--class-loss", tuple(registry.CLASS_LOSSES), "Loss of the classes.", rich_help_panel=LEARNING),
]
FocalAlpha = Annotated[
    float | None,
    typer.Option("--focal-alpha", help="Weight of the foreground in the focal loss.", rich_help_panel=LEARNING),
]
FocalGamma = Annotated[
    float | None,
    typer.Option("--focal-gamma", help="How much it plays down what is right.", rich_help_panel=LEARNING),
]
BoxLoss = Annotated[
    str | None,
    options.choice("--box-loss", tuple(registry.BOX_LOSSES), "Loss of the boxes.", rich_help_panel=LEARNING),
]
Epochs = Annotated[int | None, typer.Option("--epochs", help="Passes over the slices.", rich_help_panel=LEARNING)]
Batch = Annotated[int | None, typer.Option("--batch", help="Slices per step.", rich_help_panel=LEARNING)]
Rate = Annotated[float | None, typer.Option("--lr", help="Highest learning rate.", rich_help_panel=LEARNING)]
WeightDecay = Annotated[
    float | None, typer.Option("--weight-decay", help="On weights alone, not on norms.", rich_help_panel=LEARNING)
]
Accumulate = Annotated[
    int | None, typer.Option("--accumulate", min=1, help="Batches that make one step.", rich_help_panel=LEARNING)
]
Optimizer = Annotated[
    str | None, options.choice("--optimizer", registry.OPTIMIZERS, "Optimiser.", rich_help_panel=LEARNING)
]
ClipNorm = Annotated[
    float | None,
    typer.Option("--clip-norm", help="Largest norm of the gradients; 0: any.", rich_help_panel=LEARNING),
]
Ema = Annotated[
    float | None,
    typer.Option(
        "--ema", help="Decay of a moving average of the weights, which is then kept; 0: none.", rich_help_panel=LEARNING
    ),
]
LrCut = Annotated[
    float | None,
    typer.Option("--lr-cut", help="Factor of the rate at a milestone or plateau.", rich_help_panel=LEARNING),
]
Milestones = Annotated[
    str | None,
    typer.Option(
        "--milestones", metavar="SHARES", help="Of the steps, where 'step' cuts the rate.", rich_help_panel=LEARNING
    ),
]
Cycles = Annotated[
    int | None,
    typer.Option("--cycles", help="Of warm restarts, each twice the one before.", rich_help_panel=LEARNING),
]
LrPatience = Annotated[
    int | None,
    typer.Option(
        "--lr-patience", min=1, help="Validations without a better one until 'plateau' cuts.", rich_help_panel=LEARNING
    ),
]
Warmup = Annotated[
    float | None,
    typer.Option("--warmup", help="Share of the steps in which the rate rises.", rich_help_panel=LEARNING),
]
Schedule = Annotated[
    str | None,
    options.choice("--schedule", registry.SCHEDULES, "Rate after the warm-up.", rich_help_panel=LEARNING),
]
Crop = Annotated[
    int | None,
    typer.Option("--crop", help="Side of random crops, network px; 0: whole slices.", rich_help_panel=SHOWING),
]
Augment = Annotated[
    str | None,
    options.choice(
        "--augment", tuple(registry.AUGMENTATIONS), "What happens to training slices.", rich_help_panel=SHOWING
    ),
]
Mosaic = Annotated[
    float | None,
    typer.Option("--mosaic", help="Chance of parts of four slices side by side.", rich_help_panel=SHOWING),
]
Sampling = Annotated[
    str | None,
    options.choice("--sampling", tuple(registry.SAMPLINGS), "How slices are drawn.", rich_help_panel=SHOWING),
]
PositiveShare = Annotated[
    float | None,
    typer.Option(
        "--positive-share", help="Share of each batch that has nodules; 0: as it comes.", rich_help_panel=SHOWING
    ),
]
HardNegatives = Annotated[
    str | None,
    typer.Option(
        "--hard-negatives",
        metavar="FILE",
        help="Detections of an earlier run on train.json; its false positives are seen again.",
        rich_help_panel=SHOWING,
    ),
]
HardShare = Annotated[
    float | None,
    typer.Option("--hard-share", help="Share of each batch drawn for these.", rich_help_panel=SHOWING),
]
ValidateEvery = Annotated[
    int | None,
    typer.Option("--validate-every", min=1, help="Epochs between validations.", rich_help_panel=LEARNING),
]
Patience = Annotated[
    int | None,
    typer.Option(
        "--patience",
        min=0,
        help="End after so many validations without a better one; 0: never.",
        rich_help_panel=LEARNING,
    ),
]
Amp = Annotated[
    str | None,
    options.choice("--amp", registry.AMP, "Mixed precision.", rich_help_panel=options.EXECUTION),
]
ChannelsLast = Annotated[
    bool | None,
    typer.Option(
        "--channels-last/--channels-first", help="Memory order of activations.", rich_help_panel=options.EXECUTION
    ),
]
Compile = Annotated[
    bool | None,
    typer.Option("--compile/--no-compile", help="Compile the backbone first.", rich_help_panel=options.EXECUTION),
]
FindLr = Annotated[
    bool,
    typer.Option(
        "--find-lr",
        help="Try growing rates, name the fastest learner's, write nothing.",
        rich_help_panel=LEARNING,
    ),
]
MaxGpuMemory = Annotated[
    str | None,
    typer.Option(
        "--max-gpu-memory",
        metavar="SIZE",
        help="Most that tensors may take of a GPU, such as 6GB; a run that needs more ends.",
        rich_help_panel=options.EXECUTION,
    ),
]
TensorBoard = Annotated[
    bool,
    typer.Option("--tensorboard", help="Also write TensorBoard's events into the run.", rich_help_panel=options.OUTPUT),
]

ShowAugmentations = Annotated[
    Path | None,
    typer.Option(
        "--show-augmentations",
        metavar="PNG",
        help="Draw the first training samples with their boxes, and end.",
        rich_help_panel=SHOWING,
    ),
]
