"""Every method and control on every detector with every backbone that ``train`` offers, on two detections at once."""

from __future__ import annotations

import numpy as np
import pytest

from lungct import registry
from lungct.explain.base import MethodOptions, Subject, finish, load_method
from lungct.explain.network import Network
from lungct.explain.targets import best, open_image
from lungct.inference.detect import detect_arrays
from lungct.types import Detections

from .conftest import DETECTORS, disc_slice, untrained

OPTIONS = MethodOptions(samples=1, masks=12, patch_mm=14.0, weights="prob")
LIGHT = "mobilenet-v2"
PAIRS = [
    pytest.param(detector, backbone, marks=() if backbone == LIGHT else pytest.mark.slow)
    for detector in DETECTORS
    for backbone in registry.BACKBONES
]
MASKED = ("scorecam", "sscam1", "sscam2", "iscam", "drise", "occlusion")


def two_of(found: Detections) -> Detections:
    """The best detection and the best one that hardly overlaps it, both with an area."""
    boxes = found.boxes_xyxy_px
    kept = np.flatnonzero((boxes[:, 2:] - boxes[:, :2]).min(axis=1) > 2)
    apart = [one for one in kept if np.abs(boxes[one] - boxes[kept[0]]).max() > 6]
    chosen = np.array([kept[0], apart[0]])
    return Detections(found.image_id, boxes[chosen], found.scores[chosen], found.labels[chosen])


def opened(detector: str, backbone: str, scorer: str = "auto", target: str = "score") -> Subject:
    model, image_hu = untrained(detector, backbone=backbone), disc_slice((22, 30), 6, (56, 48))
    own = two_of(best(detect_arrays(model, [image_hu], score_threshold=0.0, amp="off")[0], 100, 0.0))
    return open_image(Network(model), image_hu, own, scorer=scorer, target=target, spacing_mm_xy=(0.7, 0.7))


@pytest.mark.parametrize(("detector", "backbone"), PAIRS)
def test_all_methods_and_controls(detector: str, backbone: str) -> None:
    """Of the logit, which random weights leave a gradient of; D-RISE knows scores alone."""
    subject, scored = opened(detector, backbone, target="logit"), opened(detector, backbone)
    assert scored.similarity is not None
    speechless = []
    for name in registry.METHODS:
        explanation = load_method(name)(scored if name == "drise" else subject, OPTIONS)
        maps, flags = finish(explanation, subject.geometry)
        assert maps.shape == (2, 56, 48), name
        assert set(flags) <= {"", "zero"}, name
        for number, flag in enumerate(flags):
            assert np.isfinite(explanation.raw[number]).all(), name
            assert float(maps[number].max()) == (0.5 if name == "constant" else 0.0 if flag else 1.0), name
        speechless += [name] * any(flags)
    assert len(speechless) <= 2, speechless


@pytest.mark.parametrize(("detector", "backbone"), PAIRS)
def test_methods_that_change_the_image_detect_anew(detector: str, backbone: str) -> None:
    subject = opened(detector, backbone, scorer="match")
    np.testing.assert_allclose(subject.scorer(subject.image[None]).score[0], subject.detections.scores, atol=2e-3)
    for name in MASKED:
        explanation = load_method(name)(subject, OPTIONS)
        maps, flags = finish(explanation, subject.geometry)
        assert maps.shape == (2, 56, 48), name
        assert "nan" not in flags, name
        assert len(explanation.record["lost_fraction"]) == 2, name
