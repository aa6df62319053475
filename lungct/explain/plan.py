"""What an explanation run would cost, from the first image that has detections."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import torch

from lungct.explain.base import Subject
from lungct.explain.run import ExplainOptions, Job, detections_of, open_subject, prepare
from lungct.explain.scorecam import paying_batch

LOOK_AT = 16


def plan(run: Path, slices: Path, options: ExplainOptions) -> dict[str, Any]:
    """Images, forward passes and seconds, writing nothing.

    Passes and seconds per image are those of the first image with detections, times all images: an upper bound where
    some have none.

    Raises:
        InputError, UsageError: as the run itself would.
    """
    job = prepare(run, slices, options)
    images = list(job.truth.images)
    start = time.perf_counter()
    subject, looked_at = _first_with_detections(job)
    per_image = (time.perf_counter() - start) / max(looked_at, 1)
    passes = 2
    if subject is not None and "scorecam" in options.methods:
        masked = 2 + sum(len(activations) for activations in subject.activations.values())
        passes += masked
        per_image += masked * _seconds_per_masked_pass(subject, options.method.batch)
    return {
        "images": len(images),
        "methods": list(options.methods),
        "passes_per_image": passes,
        "passes": passes * len(images),
        "seconds_per_image": round(per_image, 3),
        "seconds": round(per_image * len(images), 1),
        "measured_on_detections": 0 if subject is None else len(subject.detections),
    }


def _first_with_detections(job: Job) -> tuple[Subject | None, int]:
    looked_at = job.truth.images[:LOOK_AT]
    for number, (image, detections) in enumerate(zip(looked_at, detections_of(job, looked_at), strict=True), 1):
        if len(detections):
            return open_subject(job, image, detections), number
    return None, len(looked_at)


def _seconds_per_masked_pass(subject: Subject, batch: int) -> float:
    batch = batch or paying_batch(subject.image)
    images = torch.stack([subject.image] * batch)
    subject.scorer(images)
    start = time.perf_counter()
    for _ in itertools.repeat(None, 2):
        subject.scorer(images).score.cpu()
    return (time.perf_counter() - start) / (2 * batch)
