"""Trains a detector on a slices folder and writes its run folder."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w
import torch

from lungct.data.pools import told_classes
from lungct.errors import UsageError
from lungct.io import atomic
from lungct.io.checkpoint import save_tensors
from lungct.io.manifest import write_manifest
from lungct.io.weights_header import WEIGHTS
from lungct.models.card import ModelCard
from lungct.models.device import amp_dtype, pick_device, use_threads
from lungct.models.ranks import rank
from lungct.report.figure import training_curves
from lungct.training import state
from lungct.training.events import AddRow, check_tensorboard, events
from lungct.training.learner import Learner, make_learner
from lungct.training.loop import run_epoch, training_batches
from lungct.training.memory import advice, limit_gpu_memory
from lungct.training.options import Execution, TrainOptions
from lungct.training.setup import (
    Splits,
    anchor_facts,
    chosen_weights,
    learned_from,
    make_card,
    reached_share,
    read_splits,
)
from lungct.training.state import Standing
from lungct.training.together import own_device, together
from lungct.training.validate import validation_scores
from lungct.types import Progress, no_progress

LAST = "last.safetensors"
METRICS = "metrics.ndjson"
logger = logging.getLogger("lungct")


@dataclass(frozen=True)
class TrainSummary:
    """The outcome of a run.

    Attributes:
        best: validation scores of the epoch that was kept, if any was validated.
        anchor_recall: share of the training boxes that an anchor overlaps by IoU .5; None without anchors.
        begun_with: parts that were and were not taken from pretrained weights, where there were any.
    """

    card: ModelCard
    epochs: int
    best_epoch: int
    best: dict[str, float]
    final: dict[str, float]
    anchor_recall: float | None = None
    begun_with: Mapping[str, str] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """Flat values for a table or JSON."""
        losses = {name: value for name, value in self.final.items() if name.startswith("loss")}
        counts = {"epochs": self.epochs, "best_epoch": self.best_epoch}
        anchors = anchor_facts(self.card, self.anchor_recall)
        return {**counts, **self.begun_with, **anchors, **losses, **self.best}


def train(
    slices: Path,
    run: Path,
    options: TrainOptions,
    *,
    execution: Execution | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress = no_progress,
    on_epoch: AddRow = lambda row: None,
) -> TrainSummary:
    """Train on ``slices/train.json``, keep the epoch that is best on ``val.json``, write ``run``.

    Processes that torchrun started train together, each on its part of every batch; the first one alone writes.
    ``on_epoch`` gets the row of ``metrics.ndjson`` of each epoch when it ends.

    Raises:
        InputError: slices or weights that cannot be used.
        UsageError: options that do not go together, or that differ from those of the run to resume.
        EnvironmentError_: a device or weights that are not there.
        OutputExists: ``run`` is there already.
    """
    execution = execution or Execution()
    use_threads(execution.threads)
    device = pick_device(own_device(execution.device))
    amp_dtype(options.amp, device)
    limit_gpu_memory(device, execution.gpu_bytes)
    if execution.tensorboard:
        check_tensorboard()
    with together(device), advice(options, execution.gpu_bytes):
        return _train(slices, run, options, _Run(execution, device, overwrite, resume, progress, on_epoch))


@dataclass(frozen=True, eq=False)
class _Run:
    execution: Execution
    device: torch.device
    overwrite: bool
    resume: bool
    progress: Progress
    on_epoch: AddRow

    @contextlib.contextmanager
    def folder(self, path: Path) -> Iterator[Path | None]:
        """Where to write; None in a process that does not."""
        if rank():
            yield None
            return
        with atomic.staged_folder(path, command="train", overwrite=self.overwrite, resume=self.resume) as folder:
            yield folder


def _train(slices: Path, run: Path, options: TrainOptions, how: _Run) -> TrainSummary:
    if not rank():
        atomic.check_replaceable(run, overwrite=how.overwrite, command="train")
    splits = read_splits(slices)
    if "balanced" in options.sampling:
        logger.info("slices of the balanced classes: %s", told_classes(splits.train))
    weights = chosen_weights(options)
    card = make_card(splits.train, options, weights)
    reached = reached_share(splits.train, card)
    if splits.val is None:
        logger.warning("%s holds no validation split with boxes: the last epoch is kept", slices)
        if options.schedule == "plateau":
            raise UsageError("--schedule plateau waits for validations, and there is no validation split")
    learner = make_learner(card, options, weights, how.device, learned_from(splits, options))
    begun_with = learner.begun_with.facts() if learner.begun_with else {}
    for name, value in {**begun_with, **anchor_facts(card, reached)}.items():
        logger.info("%s: %s", name, value)
    task = _Task(card, splits, options, how.device, how.execution, how.progress, how.on_epoch)
    with how.folder(run) as folder:
        standing = state.read(folder, learner)
        if folder is not None:
            _write_config(folder, options)
        with events(folder if how.execution.tensorboard else None, epochs_done=standing.epoch) as add:
            _run_epochs(folder, learner, standing, task, add)
        if folder is not None:
            training_curves(folder / "curves.png", standing.rows)
            _write_records(folder, card, learner, standing, {"anchor_recall": reached, **begun_with})
    return _summary(card, standing, reached, begun_with)


@dataclass(frozen=True, eq=False)
class _Task:
    card: ModelCard
    splits: Splits
    options: TrainOptions
    device: torch.device
    execution: Execution
    progress: Progress
    on_epoch: AddRow


def _run_epochs(folder: Path | None, learner: Learner, standing: Standing, task: _Task, add: AddRow) -> None:
    options = task.options
    batches, loader = training_batches(
        task.splits.train, task.card, options, workers=task.execution.workers, device=task.device
    )
    total = len(loader) * options.epochs
    for epoch in range(standing.epoch, options.epochs):
        if standing.stopped:
            break
        batches.epoch = epoch
        row = run_epoch(
            learner,
            loader,
            options,
            epoch=epoch,
            scores=standing.scores,
            on_batch=lambda step: task.progress("training batches", step, total),
        )
        row |= batches.facts(epoch)
        if task.splits.val is not None and _is_due(epoch, options):
            row |= _validate(learner, task)
        _keep(folder, learner, standing, row, task)
        add(row)
        task.on_epoch(row)
        logger.info("epoch %d of %d: %s", epoch + 1, options.epochs, _spoken(row))


def _is_due(epoch: int, options: TrainOptions) -> bool:
    return (epoch + 1) % options.validate_every == 0 or epoch + 1 == options.epochs


def _validate(learner: Learner, task: _Task) -> dict[str, float]:
    if task.splits.val is None:
        return {}
    return validation_scores(
        learner.result,
        task.card,
        task.splits.val,
        batch=task.options.batch,
        amp=task.options.amp,
        progress=lambda what, done, total: task.progress("validation slices", done, total),
    )


def _keep(folder: Path | None, learner: Learner, standing: Standing, row: dict[str, float], task: _Task) -> None:
    """Write the files of an epoch; the state comes last, so a killed run repeats an epoch at most."""
    standing.epoch = int(row["epoch"])
    standing.rows.append(row)
    kept = _judge(standing, row)
    standing.stopped = 0 < task.options.patience <= standing.waited
    if folder is None:
        return
    tensors, card_json = learner.result.state_dict(), task.card.to_json()
    save_tensors(folder / LAST, tensors, card_json)
    if kept or standing.best_epoch == 0:
        save_tensors(folder / WEIGHTS, tensors, card_json)
    lines = "".join(json.dumps(one, allow_nan=False) + "\n" for one in standing.rows)
    atomic.write_bytes(folder / METRICS, lines.encode())
    state.write(folder, learner, standing)


def _judge(standing: Standing, row: dict[str, float]) -> bool:
    """Whether a validated epoch is to be kept: by AP at IoU .5, then mean AP, then the later one.

    An equal epoch is kept for having learned longer, but counts towards the patience.
    """
    if "val_ap50" not in row:
        return False
    best, now = (standing.best_ap50, standing.best_ap), (row["val_ap50"], row.get("val_ap", -1.0))
    standing.waited = 0 if now > best else standing.waited + 1
    if now < best:
        return False
    (standing.best_ap50, standing.best_ap), standing.best_epoch = now, standing.epoch
    return True


def _write_config(folder: Path, options: TrainOptions) -> None:
    atomic.write_bytes(folder / "config.toml", tomli_w.dumps({"train": options.record()}).encode())


def _write_records(
    folder: Path, card: ModelCard, learner: Learner, standing: Standing, facts: Mapping[str, Any]
) -> None:
    record = {
        "schema": "lungct.model/1",
        "path": WEIGHTS,
        "epochs": standing.epoch,
        "best_epoch": standing.best_epoch or standing.epoch,
        "parameters": sum(one.numel() for one in learner.detector.parameters()),
        "anchor_sizes_px": card.anchor_sizes_px,
        **facts,
    }
    write_manifest(folder, "train", learner.identity, [record])


def _summary(card: ModelCard, standing: Standing, reached: float | None, begun_with: Mapping[str, str]) -> TrainSummary:
    kept = next((row for row in standing.rows if row["epoch"] == standing.best_epoch), {})
    best = {name: value for name, value in kept.items() if name.startswith("val_")}
    epoch = standing.best_epoch or standing.epoch
    return TrainSummary(card, standing.epoch, epoch, best, dict(standing.rows[-1]), reached, begun_with)


def _spoken(row: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in row.items() if name not in ("epoch", "step"))
