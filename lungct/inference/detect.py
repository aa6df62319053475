"""Runs a detector over slices and gives its boxes in stored-slice pixels."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lungct.data.reader import SliceReader
from lungct.errors import InputError, LungctError
from lungct.io.coco import CocoImage, CocoTruth
from lungct.models.detector import LoadedModel
from lungct.models.detector import score_threshold as letting_through
from lungct.models.device import amp_dtype, autocast
from lungct.models.preprocess import check_channels, check_serves, to_input
from lungct.types import Detections, Progress, no_progress

BLOCK = 16
"""Batches that are read before slices of one size are put together; bounds the memory, whatever the split's size."""
PASS_PX = 300_000
"""Network pixels of a pass on a CPU. Of more its feature maps are larger than 32 MB, which the C library gives back and
has cleared anew each time: a fifth of the whole cost. Nothing is gained there by larger passes."""


def detect_slices(
    model: LoadedModel,
    truth: CocoTruth,
    *,
    batch: int = 4,
    score_threshold: float | None = None,
    device: str | torch.device | None = None,
    progress: Progress = no_progress,
    amp: str = "auto",
    override: bool = False,
    workers: int = 0,
    failed: list[str] | None = None,
) -> Iterator[Detections]:
    """Detections of every image of a split, in its order.

    Args:
        score_threshold: lowest score reported; the card's where None.
        device: moves the detector there first; stays where it is when None.
        override: take slices whose spacing or HU range differs from the training's.
        workers: threads that read slices ahead while the network runs; 0 reads in between.
        failed: takes ``slice: reason`` of slices that cannot be read, which are then left out; None stops at the first.

    Raises:
        InputError: a slice that cannot be read, or that the model was not made for.
    """
    images, done = truth.images, 0
    block = BLOCK * batch
    for read in _blocks(_Reading(SliceReader(truth, cache_bytes=0), model, override), images, block, workers):
        good = [(image, stack) for image, stack in read if not isinstance(stack, LungctError)]
        for image, problem in read:
            if isinstance(problem, LungctError):
                if failed is None:
                    raise problem
                failed.append(f"{image.file_name}: {problem}")
        yield from detect_arrays(
            model,
            [stack for _, stack in good],
            ids=[image.id for image, _ in good],
            names=[image.file_name for image, _ in good],
            batch=batch,
            score_threshold=score_threshold,
            device=device,
            amp=amp,
        )
        done += len(read)
        progress("slices", done, len(images))


_Read: TypeAlias = tuple[CocoImage, NDArray[np.int16] | LungctError]


@dataclass(frozen=True, eq=False)
class _Reading:
    reader: SliceReader
    model: LoadedModel
    override: bool

    def __call__(self, image: CocoImage) -> _Read:
        try:
            if not self.override:
                check_serves(image.lungct, self.model.card, name=image.file_name)
            stack = self.reader(image)
            check_channels(stack, self.model.card, name=image.file_name)
        except LungctError as problem:
            return image, problem
        return image, stack


def _blocks(read: _Reading, images: Sequence[CocoImage], size: int, workers: int) -> Iterator[list[_Read]]:
    """What is read of the images, ``size`` at a time; the next block is read while the caller works on one."""
    parts = [images[start : start + size] for start in range(0, len(images), size)]
    if workers == 0:
        yield from ([read(image) for image in part] for part in parts)
        return
    with ThreadPoolExecutor(workers) as pool:
        try:
            coming: deque[list[Future[_Read]]] = deque()
            for part in parts:
                coming.append([pool.submit(read, image) for image in part])
                if len(coming) == 2:
                    yield [one.result() for one in coming.popleft()]
            for futures in coming:
                yield [one.result() for one in futures]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def detect_arrays(
    model: LoadedModel,
    images: Sequence[NDArray[np.int16]],
    *,
    ids: Sequence[int | str] | None = None,
    names: Sequence[str] | None = None,
    batch: int = 4,
    score_threshold: float | None = None,
    device: str | torch.device | None = None,
    amp: str = "auto",
) -> list[Detections]:
    """Detections of (C, Y, X) int16 HU slices, in their order; ``ids`` default to 0, 1, ...

    Slices of one size share a batch, so what is found in a slice does not depend on its neighbours in the list.

    Raises:
        InputError: a slice with another number of channels than the model takes.
    """
    if device is not None:
        model.detector.to(device)
    threshold = model.card.score_threshold if score_threshold is None else score_threshold
    same_size: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        same_size[image.shape].append(index)
    names = names or [f"slice {index}" for index in range(len(images))]
    found: list[Detections | None] = [None] * len(images)
    model.detector.eval()
    with letting_through(model.detector, threshold):
        for shape, indices in same_size.items():
            count = _per_pass(model, shape, batch)
            for start in range(0, len(indices), count):
                chosen = indices[start : start + count]
                inputs = [to_input(images[index], model.card, name=names[index]) for index in chosen]
                outputs = _forward(model, inputs, amp, names[chosen[0]])
                for index, output in zip(chosen, outputs, strict=True):
                    image_id = ids[index] if ids is not None else index
                    found[index] = to_stored(output, model, image_id, images[index].shape[1:])
    return [one for one in found if one is not None]


def _per_pass(model: LoadedModel, shape: tuple[int, ...], batch: int) -> int:
    if model.device.type != "cpu":
        return batch
    network_px = shape[-2] * shape[-1] * model.card.magnify**2
    return max(1, min(batch, int(PASS_PX / network_px)))


def _forward(model: LoadedModel, inputs: list[Tensor], amp: str, first: str) -> list[dict[str, Tensor]]:
    device = model.device
    said: list[Tensor] = []
    backbone = next(one for name, one in model.detector.named_modules() if name.split(".")[-1] == "backbone")
    watch = backbone.register_forward_hook(
        lambda _module, _inputs, maps: said.extend(_all_finite(one) for one in maps.values())
    )
    try:
        with torch.inference_mode(), autocast(device, amp_dtype(amp, device)):
            outputs: list[dict[str, Tensor]] = model.detector([one.to(device) for one in inputs])
    finally:
        watch.remove()
    # A score that is no number is below every threshold, so that nothing would seem to be there.
    if not all(map(bool, said)):
        hint = "add --amp off; if that does not mend it, the model is broken"
        raise InputError.of(first, "the network's activations are not finite numbers", hint)
    return outputs


def _all_finite(values: Tensor) -> Tensor:
    """As ``isfinite(values).all()``, in one pass that keeps nothing: no number at all is an extreme that stays."""
    least, most = torch.aminmax(values)
    return torch.isfinite(least) & torch.isfinite(most)


def to_stored(
    output: dict[str, Tensor], model: LoadedModel, image_id: int | str, shape_yx: tuple[int, ...]
) -> Detections:
    """Network output (boxes in network pixels) -> detections inside the stored slice of ``shape_yx``, best first."""
    boxes: NDArray[Any] = output["boxes"].float().cpu().numpy() / np.float32(model.card.magnify)
    boxes[:, 0::2] = boxes[:, 0::2].clip(0, shape_yx[1])
    boxes[:, 1::2] = boxes[:, 1::2].clip(0, shape_yx[0])
    scores = output["scores"].float().cpu().numpy()
    labels_k = output["labels"].cpu().numpy()
    # RetinaNet may answer label 0, and boxes of no area where an anchor lies in the padding.
    kept = (labels_k > 0) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    boxes, scores, labels_k = (one[kept] for one in (boxes, scores, labels_k))
    categories = np.asarray(model.card.category_ids, dtype=np.int64)
    labels = categories[labels_k - 1]
    order = np.argsort(-scores, kind="stable")
    return Detections(image_id, boxes[order], scores[order], labels[order])
