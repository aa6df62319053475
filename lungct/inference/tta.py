"""Test-time augmentation: a detector that looks at several views of a slice and fuses what it found in them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lungct.extras import extra
from lungct.inference.fuse import weighted_box_fusion
from lungct.models.detector import LoadedModel

FACTORS = (0.9, 1.1)
"""Of the windowed values, 0..1; within what training jitters them by."""


@dataclass(frozen=True)
class TestTimeView:
    """Steps of ttach with their parameters, in order; ttach turns masks back and boxes not, so we do.

    Attributes:
        steps: a transform of ttach and its parameter, each.
    """

    __test__ = False  # it is no test, whatever pytest makes of its name

    steps: tuple[tuple[Any, Any], ...]

    def show(self, image: Tensor) -> Tensor:
        """(C, Y, X) float in 0..1 to the view's, of the same size."""
        shown = image[None]
        for step, value in self.steps:
            shown = step.apply_aug_image(shown, **{step.pname: value})
        return shown[0].clamp(0, 1)

    def boxes_back(self, boxes_xyxy_px: Tensor, size_yx: Sequence[int]) -> Tensor:
        """(N, 4) boxes in a view of ``size_yx`` to those in the image."""
        boxes = boxes_xyxy_px
        for step, value in reversed(self.steps):
            axis = {"HorizontalFlip": 0, "VerticalFlip": 1}.get(type(step).__name__)
            if axis is not None and value:
                boxes = boxes.clone()
                boxes[:, [axis, axis + 2]] = size_yx[1 - axis] - boxes[:, [axis + 2, axis]]
        return boxes


def views_of(name: str) -> tuple[TestTimeView, ...]:
    """The views of a name of ``registry.TTA``, the image itself first.

    Raises:
        EnvironmentError_: ttach is not installed.
    """
    ttach = extra("ttach", name="tta", wanted_by="--tta")
    flips = [ttach.HorizontalFlip(), ttach.VerticalFlip()]
    intensity = [ttach.Multiply(list(FACTORS))]
    steps = {"flip": flips[:1], "flips": flips, "intensity": intensity, "full": flips + intensity}[name]
    values = itertools.product(*(step.params for step in steps))
    return tuple(TestTimeView(tuple(zip(steps, one, strict=True))) for one in values)


class ManyViews(nn.Module):
    """A detector in torchvision's form whose answer for an image is fused from its answers for several views.

    In a view the inner detector answers from ``score_thresh`` divided by the number of views on, for a weak answer in
    one view is part of what the views found together.

    Source: Solovyev 2021 for the fusion.
    """

    def __init__(self, detector: nn.Module, views: Sequence[TestTimeView], iou: float, limit: int) -> None:
        super().__init__()
        self.detector, self.views, self.iou, self.limit = detector, tuple(views), iou, limit

    @property
    def score_thresh(self) -> float:
        """Lowest score of what is answered."""
        return float(self._holder.score_thresh) * len(self.views)

    @score_thresh.setter
    def score_thresh(self, threshold: float) -> None:
        self._holder.score_thresh = threshold / len(self.views)

    @property
    def _holder(self) -> Any:
        inner: Any = self.detector
        return inner.roi_heads if hasattr(inner, "roi_heads") else inner

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        """Boxes in network pixels, scores and labels of each (C, Y, X) image, best first."""
        found: list[list[dict[str, Tensor]]] = []
        for view in self.views:
            answers: list[dict[str, Tensor]] = self.detector([view.show(one) for one in images])
            for image, answer in zip(images, answers, strict=True):
                answer["boxes"] = view.boxes_back(answer["boxes"].float(), image.shape[-2:])
            found.append(answers)
        return [self._fused([answers[index] for answers in found]) for index in range(len(images))]

    def _fused(self, answers: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        boxes, scores, labels = (
            np.concatenate([one[key].float().cpu().numpy() for one in answers]) for key in ("boxes", "scores", "labels")
        )
        source = np.repeat(np.arange(len(answers)), [len(one["scores"]) for one in answers])
        fused = weighted_box_fusion(boxes, scores, labels.astype(np.int64), source, iou=self.iou, weights=len(answers))
        kept = np.flatnonzero(fused.scores >= self.score_thresh)[: self.limit]
        device = answers[0]["boxes"].device
        return {
            "boxes": torch.from_numpy(fused.boxes_xyxy[kept].astype(np.float32)).to(device),
            "scores": torch.from_numpy(fused.scores[kept].astype(np.float32)).to(device),
            "labels": torch.from_numpy(fused.labels[kept]).to(device),
        }


def with_views(model: LoadedModel, name: str, *, iou: float) -> LoadedModel:
    """The model, looking at the views of a name of ``registry.TTA``.

    Args:
        iou: from which on answers of two views are of one thing.

    Raises:
        EnvironmentError_: ttach is not installed.
    """
    if name == "none":
        return model
    detector = ManyViews(model.detector, views_of(name), iou, model.card.max_detections)
    return LoadedModel(detector.eval(), model.card)
