"""What an explanation run would cost, measured on the first image that has detections."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lungct.explain.base import MethodOptions, Subject, cost_of
from lungct.explain.batches import paying_batch, paying_heads
from lungct.explain.job import Job, chosen_in, open_subject, prepare
from lungct.explain.options import ExplainOptions

LOOK_AT = 16
BACKWARD = 2.0
"""What going back through a head costs, in passes forward."""


@dataclass(frozen=True)
class Rates:
    """Seconds on this machine: to open an image, and per pass of an image, of D-RISE's score, and of a head."""

    opening_s: float
    image_s: float
    similarity_s: float
    head_s: float


def plan(run: Path, slices: Path, options: ExplainOptions) -> dict[str, Any]:
    """Images, forward passes and seconds, writing nothing.

    Passes and seconds per image are those of the first image with detections, times all images: an upper bound where
    some have none.

    Raises:
        InputError, UsageError: as the run itself would.
    """
    job = prepare(run, slices, options)
    subject, rates = measure(job)
    images = len(job.truth.images)
    each = {} if subject is None else {name: _of(name, subject, options.method, rates) for name in options.methods}
    seconds = rates.opening_s + sum(one["seconds"] for one in each.values())
    passes = 2 + sum(one["passes"] for one in each.values())
    return {
        "images": images,
        "methods": list(options.methods),
        "passes_per_image": passes,
        "passes": passes * images,
        "seconds_per_image": round(seconds, 3),
        "seconds": round(seconds * images, 1),
        "measured_on_detections": 0 if subject is None else len(subject.detections),
        "each": each,
    }


def measure(job: Job) -> tuple[Subject | None, Rates]:
    """The first of some images that has detections, opened, and how fast this machine is on it."""
    start = time.perf_counter()
    looked_at = job.truth.images[:LOOK_AT]
    for number, (image, found) in enumerate(zip(looked_at, chosen_in(job, looked_at), strict=True), 1):
        if len(found):
            subject = open_subject(job, image, found)
            return subject, rates_of(subject, job.options, (time.perf_counter() - start) / number)
    return None, Rates((time.perf_counter() - start) / max(len(looked_at), 1), 0.0, 0.0, 0.0)


def rates_of(subject: Subject, options: ExplainOptions, opening_s: float) -> Rates:
    """Seconds per pass, of the kinds that the methods ask for."""
    asked = {name: cost_of(name, subject, options.method) for name in options.methods}
    batch = options.method.batch or paying_batch(subject.image)
    images = torch.stack([subject.image] * batch)
    image_s = similarity_s = head_s = 0.0
    if any(one.images for name, one in asked.items() if name != "drise" or subject.similarity is None):
        image_s = _seconds(lambda: subject.scorer(images).score.cpu()) / batch
    if "drise" in asked and subject.similarity is not None:
        alike = subject.similarity
        similarity_s = _seconds(lambda: alike(images).score.cpu()) / batch
    if any(one.heads for one in asked.values()):
        head_s = _seconds_per_head(subject, options.method.batch)
    return Rates(opening_s, image_s, similarity_s, head_s)


def seconds_of(name: str, subject: Subject, options: MethodOptions, rates: Rates) -> float:
    """What a method would take on a subject."""
    cost = cost_of(name, subject, options)
    per_image = rates.similarity_s if name == "drise" and subject.similarity is not None else rates.image_s
    return cost.images * per_image + (cost.heads + BACKWARD * cost.backwards) * rates.head_s


def _of(name: str, subject: Subject, options: MethodOptions, rates: Rates) -> dict[str, Any]:
    cost = cost_of(name, subject, options)
    seconds = seconds_of(name, subject, options, rates)
    return {"passes": cost.images, "head_passes": cost.heads, "seconds": round(seconds, 3)}


def _seconds_per_head(subject: Subject, batch: int) -> float:
    head = subject.head
    if head is None:
        return 0.0
    taken = []
    for level, mine in subject.by_level():
        count = batch or min(paying_heads(subject.activations[level]), 16)
        activations = subject.activations[level].repeat(count, 1, 1, 1)

        def work(level: int = level, activations: torch.Tensor = activations, mine: Any = mine) -> None:
            with torch.no_grad():
                head(level, activations, mine).cpu()

        taken.append(_seconds(work) / count)
    return float(np.mean(taken)) if taken else 0.0


def _seconds(work: Callable[[], object]) -> float:
    work()
    start = time.perf_counter()
    for _ in range(2):
        work()
    return (time.perf_counter() - start) / 2
