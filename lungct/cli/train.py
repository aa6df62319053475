"""Train a nodule detector on slices.

The epoch that is best on the validation split is kept. Writes model.safetensors (that epoch), last.safetensors,
state.pt for --resume, config.toml, metrics.ndjson and curves.png. Options without a value below come from the preset.
Started by torchrun, several processes train together, each on its share of a batch: torchrun --nproc-per-node 2 -m
lungct train slices/ run/.

Example: lungct train slices/ run/ --preset tiny --seed 1
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from lungct import registry
from lungct.cli import options, streams
from lungct.cli import train_flags as flags
from lungct.cli.result import Result, Table
from lungct.errors import UsageError


def run(
    slices: Annotated[Path, options.input_path("Folder of select-slices.")] = Path("slices"),
    out: Annotated[Path, typer.Argument(metavar="[RUN]", help="Folder to write.")] = Path("run"),
    preset: Annotated[str, options.choice("--preset", tuple(registry.PRESETS), "Settings to start from.")] = "default",
    detector: flags.Detector = None,
    backbone: flags.Backbone = None,
    weights: flags.Weights = None,
    stem: flags.Stem = None,
    norm: flags.Norm = None,
    trainable_stages: flags.TrainableStages = None,
    strides: flags.Strides = None,
    anchors: flags.Anchors = None,
    magnify: flags.Magnify = None,
    hu_window: flags.HuWindow = None,
    class_loss: flags.ClassLoss = None,
    focal_alpha: flags.FocalAlpha = None,
    focal_gamma: flags.FocalGamma = None,
    box_loss: flags.BoxLoss = None,
    epochs: flags.Epochs = None,
    batch: flags.Batch = None,
    accumulate: flags.Accumulate = None,
    optimizer: flags.Optimizer = None,
    lr: flags.Rate = None,
    find_lr: flags.FindLr = False,
    weight_decay: flags.WeightDecay = None,
    warmup: flags.Warmup = None,
    schedule: flags.Schedule = None,
    lr_cut: flags.LrCut = None,
    milestones: flags.Milestones = None,
    cycles: flags.Cycles = None,
    lr_patience: flags.LrPatience = None,
    clip_norm: flags.ClipNorm = None,
    ema: flags.Ema = None,
    crop: flags.Crop = None,
    augment: flags.Augment = None,
    mosaic: flags.Mosaic = None,
    show_augmentations: flags.ShowAugmentations = None,
    sampling: flags.Sampling = None,
    positive_share: flags.PositiveShare = None,
    hard_negatives: flags.HardNegatives = None,
    hard_share: flags.HardShare = None,
    validate_every: flags.ValidateEvery = None,
    patience: flags.Patience = None,
    amp: flags.Amp = None,
    channels_last: flags.ChannelsLast = None,
    compile: flags.Compile = None,  # noqa: A002 - the flag's name
    max_gpu_memory: flags.MaxGpuMemory = None,
    tensorboard: flags.TensorBoard = False,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    threads: options.Threads = 0,
    workers: options.Workers = 0,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    dry_run: options.DryRun = False,
) -> Result:
    """Train."""
    given = {**locals(), "crop_px": crop}  # taken while nothing but the parameters is local
    from lungct.training.find_lr import find_lr as test_rates
    from lungct.training.memory import parse_bytes
    from lungct.training.options import Execution, TrainOptions, preset_options
    from lungct.training.plan import plan
    from lungct.training.together import is_first
    from lungct.training.train import train

    _check_one_of(find_lr=find_lr, show=show_augmentations is not None, dry_run=dry_run, resume=resume)
    names = {one.name for one in dataclasses.fields(TrainOptions)} - {"preset"}
    wanted = preset_options(preset, {name: value for name, value in given.items() if name in names})
    if show_augmentations is not None:
        from lungct.training.show import show_augmentations as show

        facts = show(show_augmentations, slices, wanted, overwrite=overwrite)
        return Result(
            output=show_augmentations, data=facts, tables=[Table(("what", "value"), list(facts.items()), "Shown")]
        )
    limit = parse_bytes(max_gpu_memory) if max_gpu_memory else 0
    execution = Execution(device=device, threads=threads, workers=workers, gpu_bytes=limit, tensorboard=tensorboard)
    if dry_run:
        planned = plan(slices, wanted, execution)
        return Result(
            data=planned, tables=[Table(("what", "value"), list(planned.items()), "Would train")], silent=not is_first()
        )
    if find_lr:
        with streams.progress() as progress:
            facts = test_rates(slices, wanted, execution=execution, progress=progress).facts()
        rates = [(name, f"{value:g}") for name, value in facts.items()]
        return Result(data=facts, tables=[Table(("what", "value"), rates, "Rate range test")], silent=not is_first())
    with streams.live() as (progress, add_row):
        summary = train(
            slices,
            out,
            wanted,
            execution=execution,
            overwrite=overwrite,
            resume=resume,
            progress=progress,
            on_epoch=add_row,
        )
    rows = list(summary.facts().items())
    tables = [Table(("what", "value"), rows, "Trained")]
    return Result(output=out, data=summary.facts(), tables=tables, silent=not is_first())


def _check_one_of(*, find_lr: bool, show: bool, dry_run: bool, resume: bool) -> None:
    """Refuse flags that ask for two things."""
    asked = {"--find-lr": find_lr, "--show-augmentations": show, "--dry-run": dry_run}
    chosen = [name for name, wanted in asked.items() if wanted]
    if resume and not dry_run:
        chosen.append("--resume")
    if len(chosen) > 1:
        raise UsageError(f"{chosen[0]} does not go with {chosen[1]}", "give one of them")
