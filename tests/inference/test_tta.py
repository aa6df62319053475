"""Views of a slice: boxes come back to where they were, and what several views saw is one box."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lungct.errors import EnvironmentError_
from lungct.inference.detect import detect_arrays
from lungct.inference.tta import ManyViews, views_of, with_views
from lungct.models.detector import LoadedModel, build_detector, score_threshold
from lungct.registry import TTA
from tests.inference.test_predict import CARD

COUNTS = {"flip": 2, "flips": 4, "intensity": 3, "full": 12}


class Brightest(nn.Module):
    """A detector that frames the bright pixels of its image, with the score of its left upper quarter's mean."""

    score_thresh = 0.0

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        found = []
        for image in images:
            rows, columns = torch.nonzero(image[0] > 0.5, as_tuple=True)
            box = torch.stack((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)).float()
            score = image[0, : image.shape[1] // 2, : image.shape[2] // 2].mean()
            found.append({"boxes": box[None], "scores": score[None], "labels": torch.ones(1, dtype=torch.int64)})
        return found


@pytest.mark.parametrize("name", [name for name in TTA if name != "none"])
def test_boxes_come_back_from_every_view(name: str) -> None:
    image = torch.zeros(3, 30, 40)
    image[:, 4:9, 10:22] = 0.8
    views = views_of(name)
    assert len(views) == COUNTS[name]
    assert torch.equal(views[0].show(image), image)
    shown = [view.show(image) for view in views]
    assert len({one.numpy().tobytes() for one in shown}) == len(views)
    for view, one in zip(views, shown, strict=True):
        box = Brightest()([one])[0]["boxes"]
        assert view.boxes_back(box, (30, 40)).tolist() == [[10, 4, 22, 9]]


def test_a_score_is_the_mean_over_the_views() -> None:
    image = torch.zeros(3, 20, 20)
    image[:, 4:8, 4:9] = 1.0
    seen = float(image[0, :10, :10].mean())
    detector = ManyViews(Brightest(), views_of("flips"), 0.5, 100)
    found = detector([image])[0]
    assert found["boxes"].tolist() == [[4, 4, 9, 8]]
    assert float(found["scores"][0]) == pytest.approx(seen / 4), "three of the four views have it in another quarter"
    with score_threshold(detector, 0.1):
        assert detector.detector.score_thresh == 0.025  # type: ignore[union-attr]
        assert len(detector([image])[0]["scores"]) == 0
    assert detector.score_thresh == 0.0


def test_a_mirrored_slice_gives_mirrored_detections() -> None:
    torch.manual_seed(0)
    alone = LoadedModel(build_detector(CARD).eval(), CARD)
    model = with_views(alone, "flips", iou=0.5)
    image_hu = np.random.default_rng(0).integers(-1000, 500, (3, 48, 64)).astype(np.int16)
    mirrored = np.ascontiguousarray(image_hu[:, :, ::-1])
    first, second = detect_arrays(model, [image_hu, mirrored], score_threshold=0.2, amp="off")
    assert 0 < len(first) <= CARD.max_detections
    np.testing.assert_allclose(first.scores, second.scores, atol=1e-5)
    x1, y1, x2, y2 = second.boxes_xyxy_px.T
    assert _sides(first.boxes_xyxy_px) == pytest.approx(_sides(np.stack((64 - x2, y1, 64 - x1, y2), 1)), abs=2e-3)
    single, other = detect_arrays(alone, [image_hu, mirrored], score_threshold=0.2, amp="off")
    assert not np.allclose(single.scores, other.scores, atol=1e-4), "one view alone is not so even"


def _sides(boxes: Any) -> list[float]:
    return sorted(np.round(np.asarray(boxes, dtype=float).sum(1), 3).tolist())


def test_no_view_is_the_model_itself_and_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    model = LoadedModel(Brightest(), CARD)
    assert with_views(model, "none", iou=0.5) is model
    monkeypatch.setitem(sys.modules, "ttach", None)
    with pytest.raises(EnvironmentError_, match=r"--tta needs ttach: pip install 'lungct\[tta\]'"):
        with_views(model, "flip", iou=0.5)
