"""Several trained models that detect together: each looks at a slice, and what they found is fused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungct.errors import InputError
from lungct.inference.detect import detect_arrays, detect_slices
from lungct.inference.fuse import weighted_box_fusion
from lungct.inference.tta import with_views
from lungct.io.coco import CocoTruth
from lungct.models.card import ModelCard
from lungct.models.detector import LoadedModel
from lungct.models.load import load_model
from lungct.models.quicken import quickened
from lungct.registry import AMP
from lungct.types import Detections, Progress, no_progress

SAME_SPACING = 0.01


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Models whose detections are fused; one alone detects as it does by itself.

    Attributes:
        iou: from which on boxes of two models are of one thing.
    """

    models: tuple[LoadedModel, ...]
    iou: float

    @property
    def card(self) -> ModelCard:
        """Of the first: the grid and the HU range that all want."""
        return self.models[0].card

    @property
    def in_channels(self) -> int:
        """Slices in the deepest stack that one of them takes."""
        return max(model.card.in_channels for model in self.models)

    def detect_slices(
        self,
        truth: CocoTruth,
        *,
        score_threshold: float,
        batch: int,
        amp: str = AMP[0],
        override: bool = False,
        workers: int = 0,
        failed: list[str] | None = None,
        progress: Progress = no_progress,
    ) -> Iterator[Detections]:
        """Detections of every image of a split, in its order, from ``score_threshold`` on.

        Args:
            failed: takes ``slice: reason`` of slices that cannot be read, which are then left out.

        Raises:
            InputError: a slice that cannot be read, or that a model was not made for.
        """
        left_out: list[list[str]] = [[] for _ in self.models]
        each = [
            detect_slices(
                model,
                truth,
                batch=batch,
                score_threshold=self._part_of(score_threshold),
                override=override,
                amp=amp,
                workers=workers,
                failed=None if failed is None else mine,
                progress=progress,
            )
            for model, mine in zip(self.models, left_out, strict=True)
        ]
        for parts in zip(*each, strict=False):
            yield self._fused(parts, score_threshold)
        if any(mine != left_out[0] for mine in left_out):
            only = next(one for mine in left_out for one in mine if any(one not in other for other in left_out))
            raise InputError(f"a slice that not every model can take: {only}")
        if failed is not None:
            failed += left_out[0]

    def detect_stacks(
        self, stacks: Sequence[NDArray[np.int16]], *, ids: Sequence[str], score_threshold: float, batch: int, amp: str
    ) -> list[Detections]:
        """Detections of (C, Y, X) int16 HU stacks, C being ``in_channels``; a model takes the middle of each.

        Raises:
            InputError: see :func:`~lungct.inference.detect.detect_arrays`.
        """
        each = [
            detect_arrays(
                model,
                [_middle(one, model.card.in_channels) for one in stacks],
                ids=ids,
                names=ids,
                batch=batch,
                score_threshold=self._part_of(score_threshold),
                amp=amp,
            )
            for model in self.models
        ]
        return [self._fused(parts, score_threshold) for parts in zip(*each, strict=True)]

    def _part_of(self, threshold: float) -> float:
        """What a model answers from: a weak answer of one is part of what they found together."""
        return threshold / len(self.models)

    def _fused(self, parts: Sequence[Detections], threshold: float) -> Detections:
        if len(parts) == 1:
            return parts[0]
        if len({one.image_id for one in parts}) > 1:
            raise InputError(f"slice {parts[0].image_id} cannot be taken by every model")
        return fuse_detections(parts, iou=self.iou, threshold=threshold, limit=self.card.max_detections)


def _middle(stack: NDArray[np.int16], channels: int) -> NDArray[np.int16]:
    skipped = (len(stack) - channels) // 2
    return stack[skipped : skipped + channels]


def fuse_detections(parts: Sequence[Detections], *, iou: float, threshold: float, limit: int) -> Detections:
    """One image's detections by several detectors as one, best first; at most ``limit`` from ``threshold`` on.

    Source: Solovyev 2021.
    """
    source = np.repeat(np.arange(len(parts)), [len(one) for one in parts])
    boxes, scores, labels = (
        np.concatenate([getattr(one, name) for one in parts]) for name in ("boxes_xyxy_px", "scores", "labels")
    )
    fused = weighted_box_fusion(boxes, scores, labels, source, iou=iou, weights=len(parts))
    kept = np.flatnonzero(fused.scores >= threshold)[:limit]
    boxes, scores = fused.boxes_xyxy[kept].astype(np.float32), fused.scores[kept].astype(np.float32)
    return Detections(parts[0].image_id, boxes, scores, fused.labels[kept])


def load_ensemble(runs: Sequence[Path], device: str = "auto", *, tta: str = "none", iou: float) -> Ensemble:
    """Read the models of several run folders.

    Raises:
        InputError: weights that cannot be read, or models of other categories, spacing or HU range than the first.
        EnvironmentError_: ttach is not installed and views are asked for.
    """
    models = [quickened(load_model(run, device)) for run in runs]
    for run, model in zip(runs[1:], models[1:], strict=True):
        _check_together(run, models[0].card, model.card)
    return Ensemble(tuple(with_views(model, tta, iou=iou) for model in models), iou)


def _check_together(run: Path, first: ModelCard, other: ModelCard) -> None:
    facts = {
        "categories": first.categories == other.categories,
        "spacing": _close(first.spacing_mm, other.spacing_mm),
        "HU range": first.hu_clip == other.hu_clip,
    }
    wrong = [name for name, same in facts.items() if not same]
    if wrong:
        raise InputError.of(run, f"its {wrong[0]} is not that of the first model", "predict with each, one by one")


def _close(a: Sequence[float] | None, b: Sequence[float] | None) -> bool:
    if a is None or b is None:
        return a is b
    return len(a) == len(b) and bool(np.allclose(a, b, rtol=SAME_SPACING))
