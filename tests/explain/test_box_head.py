"""The box head run some proposals at a time: torchvision's own pooling and detections, up to rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign, roi_align

from lungct.explain import box_head
from lungct.explain.box_head import pooled_from
from lungct.explain.network import Network
from lungct.models.detector import score_threshold

from .conftest import DETECTORS, disc_slice, untrained


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_pooling_is_torchvisions(samples: int) -> None:
    """Boxes inside, over the borders, outside, without an area, and larger than the level."""
    random = torch.Generator().manual_seed(0)
    corners = 90 * torch.rand(80, 2, generator=random) - 20
    boxes = torch.cat((corners, corners + 40 * torch.rand(80, 2, generator=random)), dim=1)
    odd = torch.tensor([[5.0, 5, 5, 5], [-30, -30, 90, 90], [63.9, 43.9, 64, 44], [-40, -40, -30, -30], [80, 2, 90, 8]])
    boxes = torch.cat((boxes, odd))
    level = torch.randn(3, 11, 16, generator=random)
    pool = MultiScaleRoIAlign(["0"], output_size=7, sampling_ratio=samples)
    expected = roi_align(level[None], [boxes], (7, 7), 0.25, samples)
    torch.testing.assert_close(pooled_from(level, boxes, 0.25, pool), expected, atol=1e-5, rtol=1e-5)
    half = pooled_from(level.bfloat16(), boxes, 0.25, pool)
    assert half.dtype == torch.bfloat16
    assert float((half.float() - expected).abs().max()) < 0.03


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("magnify", [1.0, 2.0])
def test_detections_are_the_detectors_own(detector: str, magnify: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a batch, in parts that do not come out even; scores below 1 have an order."""
    monkeypatch.setattr(box_head, "PART", 19)
    model = untrained(detector, magnify)
    if detector == "faster-rcnn":
        with torch.no_grad():
            model.detector.roi_heads.box_predictor.cls_score.weight.mul_(0.1)  # type: ignore[union-attr, operator]
    images = torch.rand(3, 3, 72, 64, generator=torch.Generator().manual_seed(1))
    images[0] = torch.from_numpy((disc_slice((30, 40), 6).astype(np.float32) + 1000) / 1500)
    with torch.inference_mode(), score_threshold(model.detector, 0.0):
        expected = model.detector(list(images))
        found = Network(model).detect(images)
    for one, other in zip(found, expected, strict=True):
        assert len(one["boxes"]) > 10
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_no_proposals() -> None:
    detector = untrained("faster-rcnn").detector
    heads, features = detector.roi_heads, {"0": torch.rand(1, 16, 8, 8), "1": torch.rand(1, 16, 4, 4)}
    features["2"] = torch.rand(1, 16, 2, 2)

    class Images:
        image_sizes = ((32, 32),)

    nothing: list[Tensor] = [torch.zeros(0, 4)]
    logits, deltas = box_head.answers(heads, features, nothing, Images())  # type: ignore[arg-type]
    assert (logits.shape, deltas.shape) == ((0, 2), (0, 8))
