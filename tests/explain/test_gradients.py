"""The gradient family on a detector set by hand, against derivatives worked out on paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.ops import roi_align

from lungct.explain.base import MethodOptions, Subject, load_method
from lungct.explain.network import Network
from lungct.explain.targets import open_image

from .conftest import boxes_at
from .handmade import SLOPE, brightness_detector
from .test_known_evidence import NODULE, OTHER, lungs


def opened(target: str = "score", level: str = "auto") -> Subject:
    given = boxes_at(NODULE, OTHER)
    network = Network(brightness_detector())
    return open_image(network, lungs(NODULE, OTHER), given, missed=np.ones(2, bool), target=target, level=level)


def by_hand(subject: Subject, box: tuple[float, ...], of_logit: bool) -> tuple[np.ndarray, np.ndarray]:
    """(h, w) channel 0, and dy/dA there: SLOPE x a cell's share in the mean sample, times p (1 - p) for the score."""
    bright = subject.activations[0][0]
    height, width = bright.shape
    cells = torch.eye(height * width).reshape(-1, 1, height, width)
    boxes = [torch.tensor([box])] * len(cells)
    given = roi_align(cells, boxes, 7, spatial_scale=0.25, sampling_ratio=1).mean(dim=(1, 2, 3)).reshape(height, width)
    p = torch.sigmoid(SLOPE * (given * bright).sum() - 3.0)
    slope = SLOPE * given * (1.0 if of_logit else p * (1 - p))
    return bright.double().numpy(), slope.double().numpy()


@pytest.mark.parametrize("target", ["score", "logit"])
@pytest.mark.parametrize("name", ["odam", "hirescam", "gradcam", "gradcampp", "layercam"])
def test_equals_the_derivative_by_hand(name: str, target: str) -> None:
    subject = opened(target)
    explanation = load_method(name)(subject, MethodOptions())
    for raw, box in zip(explanation.raw, (NODULE, OTHER), strict=True):
        bright, slope = by_hand(subject, box, target == "logit")
        if name == "gradcam":
            expected = slope.mean() * bright
        elif name == "gradcampp":
            down = 2 * slope**2 + bright.sum() * slope**3
            alpha = np.divide(slope**2, down, out=np.zeros_like(down), where=down != 0)
            expected = (alpha * np.maximum(slope, 0)).sum() * bright
        else:
            expected = np.maximum(slope, 0) * bright
        np.testing.assert_allclose(raw, expected, atol=1e-5 * np.abs(expected).max())
    assert explanation.record["zero_gradient"] == [False, False]


def test_a_level_that_is_not_the_detections_own_has_no_gradient_and_is_flagged() -> None:
    explanation = load_method("odam")(opened(level="P4"), MethodOptions())
    assert explanation.record["zero_gradient"] == [True, True]
    assert explanation.layers == ["P4", "P4"]
    assert not any(raw.any() for raw in explanation.raw)


def test_the_sum_of_hirescam_is_the_logit_without_its_constant() -> None:
    subject = opened("logit")
    explanation = load_method("hirescam")(subject, MethodOptions())
    totals = [float(raw.sum()) for raw in explanation.raw]
    logits = subject.scorer(subject.image[None]).score[0].tolist()
    np.testing.assert_allclose(totals, np.array(logits) + 3.0, rtol=1e-4)


@pytest.mark.parametrize(("target", "of"), [("box-x", (26, 50)), ("box-y", (42, 14)), ("box-w", (12, 12))])
def test_box_targets_are_the_boxes_own_numbers(target: str, of: tuple[float, float]) -> None:
    subject = opened(target)
    np.testing.assert_allclose(subject.scorer(subject.image[None]).score[0].numpy(), of, atol=1e-4)


def test_laterals_make_the_same_scores_and_the_same_map_where_the_pyramid_only_copies() -> None:
    plain, lateral = opened(), opened(level="lateral")
    np.testing.assert_allclose(
        lateral.head(0, lateral.activations[0][None], np.arange(2)).detach().numpy(),  # type: ignore[misc]
        plain.head(0, plain.activations[0][None], np.arange(2)).detach().numpy(),  # type: ignore[misc]
        atol=1e-6,
    )
    first, second = (load_method("odam")(one, MethodOptions()) for one in (plain, lateral))
    assert second.layers == ["P2 lateral", "P2 lateral"]
    for a, b in zip(first.raw, second.raw, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
