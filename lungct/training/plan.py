"""What a training run would take, without training it: sizes, steps, operations, memory and time of a trial step."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lungct.errors import InputError, UsageError
from lungct.models.device import pick_device, use_threads
from lungct.training.learner import Learner, make_learner
from lungct.training.loop import steps_of, training_batches
from lungct.training.memory import advice, limit_gpu_memory
from lungct.training.options import Execution, TrainOptions
from lungct.training.setup import anchor_facts, chosen_weights, make_card, reached_share, read_splits

TIMED = 2
"""Steps that are timed, after one that is not."""


def plan(slices: Path, options: TrainOptions, execution: Execution | None = None) -> dict[str, Any]:
    """Facts of the run that ``options`` would make.

    Builds the detector and takes three steps with it on the device, whose outcome is thrown away; writes nothing.

    Raises:
        InputError, UsageError, EnvironmentError_: as the run itself would.
    """
    execution = execution or Execution()
    use_threads(execution.threads)
    device = pick_device(execution.device)
    limit_gpu_memory(device, execution.gpu_bytes)
    with advice(options, execution.gpu_bytes):
        return _plan(slices, options, device)


def _plan(slices: Path, options: TrainOptions, device: torch.device) -> dict[str, Any]:
    splits = read_splits(slices)
    weights = chosen_weights(options)
    card = make_card(splits.train, options, weights)
    learner = make_learner(card, replace(options, compile=False), weights, device, splits.digest)
    batches, loader = training_batches(splits.train, card, options, workers=0, device=device)
    torch.manual_seed(options.seed)
    trial = try_steps(learner, [_sound(one) for one in itertools.islice(loader, 1 + TIMED)])
    largest = max(max(image.width, image.height) for image in splits.train.images)
    side = min(options.crop_px or math.inf, math.floor(largest * options.magnify))
    per_epoch = steps_of(len(batches), options.accumulate)
    per_step = trial.seconds * options.accumulate
    return {
        "detector": card.detector,
        "parameters": sum(one.numel() for one in learner.detector.parameters()),
        **anchor_facts(card, reached_share(splits.train, card)),
        "input_px": f"{card.in_channels} x {side} x {side}",
        "training_slices": len(splits.train.images),
        "validation_slices": 0 if splits.val is None else len(splits.val.images),
        "steps": per_epoch * options.epochs,
        "steps_per_epoch": per_epoch,
        "device": str(device),
        "gflops_per_step": round(trial.flops * options.accumulate / 1e9, 2),
        "seconds_per_step": float(f"{per_step:.3g}"),
        "hours_of_steps": float(f"{per_step * per_epoch * options.epochs / 3600:.3g}"),
        "timed_by": f"{trial.timed} trial step{'s' if trial.timed > 1 else ''} on this machine; without validations",
        "memory_mib": round(trial.peak_bytes / 2**20),
        "memory_by": trial.peak_by,
    }


def _sound(loaded: Any) -> tuple[Any, Any]:
    if isinstance(loaded, InputError):
        raise loaded
    images, targets = loaded
    return images, targets


@dataclass(frozen=True)
class Trial:
    """What a step took.

    Attributes:
        seconds: wall time of a batch, forward, backward and optimiser; the mean of ``timed``.
        flops: of a batch, multiplications and additions in convolutions and matrix products, both ways.
        peak_bytes: of memory; ``peak_by`` says how it was found.
    """

    seconds: float
    timed: int
    flops: int
    peak_bytes: int
    peak_by: str


def try_steps(learner: Learner, loaded: list[tuple[Any, Any]]) -> Trial:
    """Take a step with each batch; the first warms up and is counted, the others, where there are, are timed.

    Raises:
        UsageError: a loss that is not finite.
    """
    device = learner.device
    learner.detector.train()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    kept = _Kept()
    with (
        FlopCounterMode(display=False) as counter,
        torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda tensor: tensor),
    ):
        first = _step(learner, loaded[0])
    timed = [_step(learner, one) for one in loaded[1:]]
    seconds = sum(timed) / len(timed) if timed else first
    if device.type == "cuda":
        peak, by = torch.cuda.max_memory_allocated(device), "measured on the device"
    else:
        peak, by = kept.bytes + _lasting_bytes(learner), "counted: weights, moments, gradients, kept activations"
    return Trial(seconds, max(len(timed), 1), counter.get_total_flops(), peak, by)


def _step(learner: Learner, loaded: tuple[Any, Any]) -> float:
    begun = time.perf_counter()
    learner.begin(1e-12)
    if not torch.isfinite(torch.tensor(learner.look(loaded, 1.0)["loss"])):
        raise UsageError("the loss of a trial step is not finite", "use --amp off")
    learner.finish()
    if learner.device.type == "cuda":
        torch.cuda.synchronize(learner.device)
    return time.perf_counter() - begun


class _Kept:
    """Counts what the backward pass keeps, each storage once; weights are counted elsewhere."""

    def __init__(self) -> None:
        self.bytes = 0
        self._seen: set[int] = set()

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        is_weight = tensor.is_leaf and tensor.requires_grad
        if not is_weight and storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self.bytes += storage.nbytes()
        return tensor


def _lasting_bytes(learner: Learner) -> int:
    """Of weights, their gradients, their average and the optimiser's moments."""
    modules = [learner.detector] + ([learner.average.model] if learner.average else [])
    tensors = [one for module in modules for one in module.state_dict().values()]
    tensors += [one for one in learner.detector.parameters() if one.requires_grad]
    tensors += [one for state in learner.optimizer.state.values() for one in state.values() if isinstance(one, Tensor)]
    return sum(one.numel() * one.element_size() for one in tensors)
