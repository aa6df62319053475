"""Explain a trained detector's detections on a split of slices: a folder of heatmaps per method."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lungct.errors import InputError
from lungct.explain.base import Explanation, load_method
from lungct.explain.channels import channel_values
from lungct.explain.choose import Chosen
from lungct.explain.fuse import chosen_of, fused, groups_of
from lungct.explain.index import complaint, write_index
from lungct.explain.job import Job, finder_of, open_subject, prepare
from lungct.explain.options import ExplainOptions
from lungct.explain.scan_maps import ScanMaps
from lungct.explain.sheets import write_sheets
from lungct.explain.write import Page, Said, forget, sweep, whole, write_image
from lungct.io.atomic import staged_folder
from lungct.io.coco import CocoImage
from lungct.io.manifest import write_manifest
from lungct.report.flagged_maps import flagged
from lungct.types import Progress, no_progress

logger = logging.getLogger("lungct")


@dataclass
class _Told:
    """What was done: what is told of each image, per method, and ``image: reason`` of those left out."""

    images: list[CocoImage] = field(default_factory=list)
    of_method: dict[str, list[Said]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def rows(self, method: str) -> list[dict[str, Any]]:
        """The index of one method."""
        return [row for said in self.of_method[method] for row in said.rows]

    def records(self, method: str) -> list[dict[str, Any]]:
        """The manifest records of one method."""
        return [said.record for said in self.of_method[method]]


def explain(
    run: Path,
    slices: Path,
    out: Path,
    options: ExplainOptions,
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Write ``out/<method>/`` for every method and return what was done, JSON-ready.

    Raises:
        InputError: a model, slices or detections that cannot be read or do not fit each other.
        OutputExists: one of the folders is there and ``overwrite`` is false.
        UsageError: an image id or pyramid level that is not there.
    """
    job = prepare(run, slices, options)
    volumes = None if options.volumes is None else ScanMaps.of(job.truth, options.volumes)
    with contextlib.ExitStack() as stack:
        folders = {
            method: stack.enter_context(
                staged_folder(out / method, command="explain", overwrite=overwrite, resume=resume)
            )
            for method in options.methods
        }
        done = {image.id: _finished(folders, image, job) for image in job.truth.images} if resume else {}
        for folder in folders.values():
            kept = [image for image in job.truth.images if done.get(image.id)]
            sweep(folder, kept, pictures=options.pictures)
        told = _explain_images(job, folders, done, progress)
        if volumes is not None:
            volumes.write(folders, told.images, {method: told.rows(method) for method in folders}, progress)
        for method, folder in folders.items():
            write_index(folder, told.rows(method))
            facts = _shard_facts(job, told)
            write_manifest(folder, "explain", {"method": method, **job.settings}, told.records(method), shard=facts)
    if options.pictures:
        write_sheets(out, job.truth, job.wanted, job.model.card.hu_window, options.shard, progress)
    return _summary(told, options)


def _explain_images(
    job: Job, folders: Mapping[str, Path], done: Mapping[int | str, dict[str, Said] | None], progress: Progress
) -> _Told:
    find = finder_of(job)
    told = _Told(of_method={method: [] for method in folders})
    for number, image in enumerate(job.truth.images, 1):
        try:
            said = done.get(image.id) or _explain_image(job, image, find(image), folders)
        except InputError as problem:
            if not job.options.keep_going:
                raise
            told.failed.append(f"{image.file_name}: {problem}")
            for folder in folders.values():
                forget(folder, image)
        else:
            told.images.append(image)
            for method, one in said.items():
                told.of_method[method].append(one)
        progress("images explained", number, len(job.truth.images))
    if told.failed and not told.images and job.options.shard.is_whole:
        raise InputError(f"every image failed; the first: {told.failed[0]}")
    return told


def _explain_image(job: Job, image: CocoImage, picked: Chosen, folders: Mapping[str, Path]) -> dict[str, Said]:
    pictures = job.options.pictures
    if not len(picked):
        return {method: Said.of(image, None, pictures=pictures) for method in folders}
    subject = open_subject(job, image, picked)
    options = job.options.method
    picked = dataclasses.replace(picked, detections=subject.detections)  # missed boxes have their scores now
    groups = groups_of(picked.detections, job.options.per)
    shown = picked if job.options.per == "detection" else chosen_of(picked, groups)
    page = Page(
        image,
        subject.image_hu[len(subject.image_hu) // 2],
        job.truth.boxes_of(image.id),
        shown.annotations,
        job.model.card.hu_window,
        channel_values(subject, options.baseline, options.batch) if job.options.channels else None,
        pictures,
        shown.kinds,
    )
    said = {}
    for method, folder in folders.items():
        explanation: Explanation = load_method(method)(subject, options)
        if job.options.per != "detection":
            explanation = fused(explanation, subject.geometry, groups)
        said[method] = write_image(
            folder, method, page, shown.detections, explanation, subject.geometry, settings=job.settings
        )
    return said


def _finished(folders: Mapping[str, Path], image: CocoImage, job: Job) -> dict[str, Said] | None:
    pictures = job.options.pictures
    found = {method: whole(folder, image, job.settings, pictures=pictures) for method, folder in folders.items()}
    if any(said is None for said in found.values()):
        return None
    return {method: said for method, said in found.items() if said is not None}


def _shard_facts(job: Job, told: _Told) -> dict[str, Any] | None:
    """See :meth:`lungct.preprocessing.shard.Shard.facts`; the cases are images."""
    names = [str(image.id) for image in job.wanted.images]
    return job.options.shard.facts(names, dict(job.settings), [str(image.id) for image in told.images])


def _summary(told: _Told, options: ExplainOptions) -> dict[str, Any]:
    methods = {method: flagged(told.rows(method)) for method in told.of_method}
    first = told.records(next(iter(methods)))
    summary = {
        "methods": list(methods),
        "images": len(first),
        "images_without_detections": sum(record["detections"] == 0 for record in first),
        "detections": sum(record["detections"] for record in first),
        "true_positives": sum(record["true_positives"] for record in first),
        "flagged_maps": {method: sum(found["flags"].values()) for method, found in methods.items()},
        "maps": methods,
        "failed": told.failed,
    }
    if not summary["detections"]:
        logger.warning("nothing to explain: %s", options.nobody())
    for line in filter(None, (complaint(method, found) for method, found in methods.items())):
        logger.warning("%s", line)
    return summary
