"""An explanation run before its first map: the model, the images, and the detections to explain on each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lungct.data.reader import SliceReader
from lungct.errors import UsageError
from lungct.explain.base import Subject
from lungct.explain.choose import Chosen, choose
from lungct.explain.images import chosen
from lungct.explain.network import Network
from lungct.explain.options import ExplainOptions, check
from lungct.explain.places import reach_of
from lungct.explain.targets import open_image
from lungct.inference.detect import detect_slices
from lungct.io.coco import CocoImage, CocoTruth, read_detections, read_truth
from lungct.io.manifest import sha256_of
from lungct.io.weights_header import weights_of
from lungct.models.detector import LoadedModel
from lungct.models.device import use_threads
from lungct.models.load import load_model
from lungct.models.preprocess import check_serves
from lungct.types import Detections


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


def prepare(run: Path, slices: Path, options: ExplainOptions) -> Job:
    """Load the model and choose the images.

    Raises:
        InputError: a model, slices or detections that cannot be read or do not fit each other.
        UsageError: an image id that is not there, or options that make no sense together.
    """
    use_threads(options.threads)
    check(options)
    split = read_truth(slices)
    wanted = chosen(split, options.image_ids, options.max_images)
    model = load_model(run, options.device)
    network = Network(model, options.amp)
    _check_window(network, options.method.approximate)
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
    return Job(network, truth, wanted, split, options, settings)


def _check_window(network: Network, approximate: str) -> None:
    if approximate == "window" and (network.two_stage or reach_of(network.detector.head) is not None):
        raise UsageError(
            f"--approximate window leaves out what a norm over the whole level adds, and this "
            f"{network.model.card.detector} has none: Recipro-CAM looks at few cells as it is"
        )


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
