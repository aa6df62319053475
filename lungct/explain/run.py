"""Explain a trained detector's detections on a split of slices: a folder of heatmaps per method."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lungct import registry
from lungct.data.reader import SliceReader
from lungct.errors import InputError, UsageError
from lungct.explain.base import Explanation, MethodOptions, Subject, load_method
from lungct.explain.channels import channel_values
from lungct.explain.choose import DETECTED, Chosen, choose
from lungct.explain.fuse import chosen_of, fused, groups_of
from lungct.explain.goals import check_options
from lungct.explain.images import chosen
from lungct.explain.index import complaint, write_index
from lungct.explain.network import Network
from lungct.explain.scan_maps import ScanMapOptions, ScanMaps
from lungct.explain.sheets import write_sheets
from lungct.explain.targets import AUTO, open_image
from lungct.explain.write import Page, Said, forget, sweep, whole, write_image
from lungct.inference.detect import detect_slices
from lungct.io.atomic import staged_folder
from lungct.io.coco import CocoImage, CocoTruth, read_detections, read_truth
from lungct.io.manifest import sha256_of, write_manifest
from lungct.io.weights_header import weights_of
from lungct.models.detector import LoadedModel
from lungct.models.device import use_threads
from lungct.models.load import load_model
from lungct.models.preprocess import check_serves
from lungct.preprocessing.shard import WHOLE, Shard
from lungct.report.flagged_maps import flagged
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
        outcomes: of ``registry.OUTCOMES``: detections that are right or wrong, and true boxes that were missed.
        numbers: only the detections of these numbers in their image, 0 the best; empty all.
        per: a map for each detection, or one for all of a class or of an image.
        channels: also tell what each slice of the stack brings to each score.
        pictures: draw an overlay per map, and a contact sheet per patient.
        volumes: NIfTI volumes per scan; None writes none.
        keep_going: leave out images that cannot be explained.
        shard: which of the patients' images.
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
    outcomes: Sequence[str] = DETECTED
    numbers: Sequence[int] = ()
    per: str = "detection"
    channels: bool = False
    pictures: bool = True
    volumes: ScanMapOptions | None = None
    keep_going: bool = False
    shard: Shard = WHOLE
    device: str = "auto"
    threads: int = 0
    method: MethodOptions = field(default_factory=MethodOptions)


@dataclass(frozen=True, eq=False)
class Job:
    """A loaded model, the images chosen (``truth``) of the whole ``split``, and the settings that decide a map.

    Attributes:
        wanted: the images chosen before a shard took its part of them.
    """

    network: Network
    truth: CocoTruth
    wanted: CocoTruth
    split: CocoTruth
    options: ExplainOptions
    settings: Mapping[str, Any]

    @property
    def model(self) -> LoadedModel:
        """The detector and its card."""
        return self.network.model


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


def prepare(run: Path, slices: Path, options: ExplainOptions) -> Job:
    """Load the model and choose the images.

    Raises:
        InputError, UsageError: see :func:`explain`.
    """
    use_threads(options.threads)
    check_options(options.methods, options.scorer, options.target)
    if options.channels and options.per != "detection":
        raise UsageError(f"--explain-channels tells of each detection, and --per {options.per} brings them together")
    split = read_truth(slices)
    wanted = chosen(split, options.image_ids, options.max_images)
    model = load_model(run, options.device)
    model.detector.to(memory_format=torch.channels_last)
    choice = ("top", "score_threshold", "outcomes", "numbers", "per", "override")
    named = (*choice, "level", "scorer", "target", "amp", "channels")
    settings = {
        "model_sha256": sha256_of(weights_of(run)),
        **{name: _plain(getattr(options, name)) for name in named},
        **dataclasses.asdict(options.method),
        "slices_sha256": sha256_of(slices),
        "detections_sha256": None if options.detections is None else sha256_of(options.detections),
    }
    truth = chosen(wanted, shard=options.shard)
    return Job(Network(model, options.amp), truth, wanted, split, options, settings)


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    return list(value) if isinstance(value, (tuple, list)) else value


def chosen_in(job: Job, images: Sequence[CocoImage]) -> Iterator[Chosen]:
    """What is to explain of each image, in order."""
    yield from map(finder_of(job), images)


def finder_of(job: Job) -> Callable[[CocoImage], Chosen]:
    """What tells the detections to explain of an image.

    Raises:
        InputError: given detections that cannot be read, or do not fit the slices.
    """
    options = job.options

    def pick(image: CocoImage, found: Detections) -> Chosen:
        return choose(
            job.truth,
            image,
            found,
            top=options.top,
            score_threshold=options.score_threshold,
            outcomes=options.outcomes,
            numbers=options.numbers,
        )

    if options.detections is not None:
        given = {one.image_id: one for one in read_detections(options.detections, job.split)}
        return lambda image: pick(image, given[image.id])

    def find(image: CocoImage) -> Chosen:
        alone = CocoTruth(job.truth.categories, [image], (), job.truth.root)
        # One by one, so that a resumed run, which has other neighbours, finds the same to the last bit.
        (found,) = detect_slices(
            job.model, alone, batch=1, score_threshold=options.score_threshold, override=options.override
        )
        return pick(image, found)

    return find


def open_subject(job: Job, image: CocoImage, chosen: Chosen) -> Subject:
    """The network opened at what is to explain of one image.

    Raises:
        InputError: a slice that the model was not made for, see :func:`check_serves`.
    """
    if not job.options.override:
        check_serves(image.lungct, job.model.card, name=image.file_name)
    image_hu = SliceReader(job.truth, cache_bytes=0)(image)
    return open_image(
        job.network,
        image_hu,
        chosen.detections,
        level=job.options.level,
        scorer=job.options.scorer,
        target=job.options.target,
        missed=chosen.missed,
        spacing_mm_xy=image.spacing_mm_xy,
        name=image.file_name,
    )


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
        logger.warning("nothing to explain: no detection of score %g or more", options.score_threshold)
    for line in filter(None, (complaint(method, found) for method, found in methods.items())):
        logger.warning("%s", line)
    return summary
