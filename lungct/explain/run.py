"""Explain a trained detector's detections on a split of slices: a folder of heatmaps per method."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lungct import registry
from lungct.data.dataset import SliceReader
from lungct.errors import UsageError
from lungct.explain.base import Explanation, MethodOptions, Subject, load_method
from lungct.explain.goals import check_options
from lungct.explain.matching import matched
from lungct.explain.network import Network
from lungct.explain.targets import AUTO, best, open_image
from lungct.explain.write import Page, record_of, sweep, whole, write_image
from lungct.inference.detect import detect_slices
from lungct.io.atomic import staged_folder
from lungct.io.coco import CocoImage, CocoTruth, read_detections, read_truth
from lungct.io.manifest import sha256_of, write_manifest
from lungct.models.detector import LoadedModel
from lungct.models.device import use_threads
from lungct.models.load import FILE_NAME, load_model
from lungct.models.preprocess import check_serves
from lungct.types import Detections, Progress, no_progress

logger = logging.getLogger("lungct")


@dataclass(frozen=True)
class ExplainOptions:
    """What is explained, and how.

    Attributes:
        methods: names of the registry, in the order they are run.
        top, score_threshold: at most so many detections per image, of at least this score.
        max_images: at most so many images, in turn from every patient, spread over each one's slices; None all.
        image_ids: only these images; empty all.
        level: pyramid level read, ``auto`` for the one each detection comes from.
        scorer: how a perturbed detection is scored: ``roi``, ``match``, or ``auto`` for each method's own.
        target: what of a detection is explained, a name of ``registry.TARGETS``.
        amp: number format of the perturbed passes. Detection runs as ``lungct predict`` does by default.
        override: take slices whose spacing or HU range differs from the training's.
        detections: COCO results to explain in place of the model's own.
    """

    methods: Sequence[str] = (registry.DEFAULT_METHOD,)
    top: int = 5
    score_threshold: float = 0.3
    max_images: int | None = None
    image_ids: Sequence[str] = ()
    level: str = AUTO
    scorer: str = AUTO
    target: str = "score"
    amp: str = "off"
    override: bool = False
    detections: Path | None = None
    device: str = "auto"
    threads: int = 0
    method: MethodOptions = field(default_factory=MethodOptions)


@dataclass(frozen=True, eq=False)
class Job:
    """A loaded model, the images chosen (``truth``) of the whole ``split``, and the settings that decide a map."""

    network: Network
    truth: CocoTruth
    split: CocoTruth
    options: ExplainOptions
    settings: Mapping[str, Any]

    @property
    def model(self) -> LoadedModel:
        """The detector and its card."""
        return self.network.model


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
    records: dict[str, list[dict[str, Any]]] = {method: [] for method in options.methods}
    with contextlib.ExitStack() as stack:
        folders = {
            method: stack.enter_context(
                staged_folder(out / method, command="explain", overwrite=overwrite, resume=resume)
            )
            for method in options.methods
        }
        done = {image.id: _finished(folders, image, job.settings) for image in job.truth.images} if resume else {}
        for folder in folders.values():
            sweep(folder, [image for image in job.truth.images if done.get(image.id)])
        todo = iter(detections_of(job, [image for image in job.truth.images if not done.get(image.id)]))
        for number, image in enumerate(job.truth.images, 1):
            found = done.get(image.id) or _explain_image(job, image, next(todo), folders)
            for method, record in found.items():
                records[method].append(record)
            progress("images explained", number, len(job.truth.images))
        for method, folder in folders.items():
            write_manifest(folder, "explain", {"method": method, **job.settings}, records[method])
    summary = _summary(records)
    if not summary["detections"]:
        logger.warning("nothing to explain: no detection of score %g or more", options.score_threshold)
    for method, count in summary["flagged_maps"].items():
        if count:
            logger.warning("%s: %d of %d maps mean little; see their flags", method, count, summary["detections"])
    return summary


def prepare(run: Path, slices: Path, options: ExplainOptions) -> Job:
    """Load the model and choose the images.

    Raises:
        InputError, UsageError: see :func:`explain`.
    """
    use_threads(options.threads)
    check_options(options.methods, options.scorer, options.target)
    split = read_truth(slices)
    truth = _chosen(split, options) if options.image_ids or options.max_images is not None else split
    model = load_model(run, options.device)
    model.detector.to(memory_format=torch.channels_last)
    settings = {
        "model_sha256": sha256_of(run / FILE_NAME if run.is_dir() else run),
        **{
            name: getattr(options, name)
            for name in ("top", "score_threshold", "level", "scorer", "target", "amp", "override")
        },
        **dataclasses.asdict(options.method),
        "slices_sha256": sha256_of(slices),
        "detections_sha256": None if options.detections is None else sha256_of(options.detections),
    }
    return Job(Network(model, options.amp), truth, split, options, settings)


def _chosen(truth: CocoTruth, options: ExplainOptions) -> CocoTruth:
    images = list(truth.images)
    if options.image_ids:
        known = {str(image.id): image for image in images}
        missing = [one for one in options.image_ids if one not in known]
        if missing:
            raise UsageError(f"--image-id {missing[0]}: no such image in the slices")
        images = [known[one] for one in dict.fromkeys(options.image_ids)]
    if options.max_images is not None:
        images = spread_over_patients(images, options.max_images)
    kept = {image.id for image in images}
    annotations = [one for one in truth.annotations if one.image_id in kept]
    return dataclasses.replace(truth, images=images, annotations=annotations)


def spread_over_patients(images: Sequence[CocoImage], count: int) -> list[CocoImage]:
    """At most ``count`` images in their old order: in turn one of every patient, evenly spaced among each one's own."""
    of_patient: dict[str, list[CocoImage]] = {}
    for image in images:
        of_patient.setdefault(image.patient_id, []).append(image)
    shares = dict.fromkeys(of_patient, 0)
    for _ in range(min(count, len(images))):
        open_to_more = [patient for patient, share in shares.items() if share < len(of_patient[patient])]
        shares[min(open_to_more, key=lambda patient: shares[patient])] += 1
    kept = {
        of_patient[patient][(2 * number + 1) * len(of_patient[patient]) // (2 * share)].id
        for patient, share in shares.items()
        for number in range(share)
    }
    return [image for image in images if image.id in kept]


def detections_of(job: Job, images: Sequence[CocoImage]) -> Iterator[Detections]:
    """The detections to explain of each image, in order."""
    options = job.options
    if options.detections is not None:
        given = {one.image_id: one for one in read_detections(options.detections, job.split)}
        found: Iterator[Detections] = (given[image.id] for image in images)
    else:
        found = detect_slices(
            job.model,
            CocoTruth(job.truth.categories, images, (), job.truth.root),
            batch=1,  # so that a resumed run, which has other neighbours, finds the same to the last bit
            score_threshold=options.score_threshold,
            override=options.override,
        )
    for one in found:
        yield best(one, options.top, options.score_threshold)


def open_subject(job: Job, image: CocoImage, detections: Detections) -> Subject:
    """The network opened at one image's detections.

    Raises:
        InputError: a slice that the model was not made for, see :func:`check_serves`.
    """
    if not job.options.override:
        check_serves(image.lungct, job.model.card, name=image.file_name)
    image_hu = SliceReader(job.truth, cache_bytes=0)(image)
    return open_image(
        job.network,
        image_hu,
        detections,
        level=job.options.level,
        scorer=job.options.scorer,
        target=job.options.target,
        spacing_mm_xy=image.spacing_mm_xy,
        name=image.file_name,
    )


def _explain_image(
    job: Job, image: CocoImage, detections: Detections, folders: Mapping[str, Path]
) -> dict[str, dict[str, Any]]:
    if not len(detections):
        return {method: record_of(image, None) for method in folders}
    subject = open_subject(job, image, detections)
    page = Page(
        image,
        subject.image_hu[len(subject.image_hu) // 2],
        job.truth.boxes_of(image.id),
        matched(job.truth, image, detections),
        job.model.card.hu_window,
    )
    records = {}
    for method, folder in folders.items():
        explanation: Explanation = load_method(method)(subject, job.options.method)
        records[method] = write_image(
            folder, method, page, detections, explanation, subject.geometry, settings=job.settings
        )
    return records


def _finished(
    folders: Mapping[str, Path], image: CocoImage, settings: Mapping[str, Any]
) -> dict[str, dict[str, Any]] | None:
    found = {method: whole(folder, image, settings) for method, folder in folders.items()}
    if any(record is None for record in found.values()):
        return None
    return {method: record for method, record in found.items() if record is not None}


def _summary(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    first = next(iter(records.values()), ())
    return {
        "methods": list(records),
        "images": len(first),
        "images_without_detections": sum(record["detections"] == 0 for record in first),
        "detections": sum(record["detections"] for record in first),
        "true_positives": sum(record["true_positives"] for record in first),
        "flagged_maps": {
            method: sum(flag != "" for record in rows for flag in record["flags"]) for method, rows in records.items()
        },
    }
