"""EigenCAM against the full SVD, against pytorch-grad-cam, and its orientation."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lungct.explain.base import MethodOptions, Subject, finish
from lungct.explain.eigencam import box_contrast, eigencam, first_component

SHAPES = [(16, 9, 11), (64, 5, 4), (1, 6, 6), (24, 1, 7)]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    return abs(float(a @ b)) / float(np.linalg.norm(a) * np.linalg.norm(b))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("centred", [False, True])
def test_equals_the_full_svd(shape: tuple[int, int, int], centred: bool) -> None:
    activations = np.random.default_rng(1).normal(0.3, 1, shape).astype(np.float32)
    cells = activations.reshape(shape[0], -1).T.astype(np.float64)
    cells = cells - cells.mean(axis=0) if centred else cells
    _, _, vt = np.linalg.svd(cells, full_matrices=False)
    expected = (cells @ vt[0]).reshape(shape[1:])
    found = first_component(activations, centred=centred)
    assert cosine(found, expected) >= 0.9999
    np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-3, atol=1e-3)


def test_equals_pytorch_grad_cam_on_a_detector(subject: Subject) -> None:
    """Its projection (of centred columns) of the same activations, up to the sign that it leaves free."""
    svd = pytest.importorskip("pytorch_grad_cam.utils.svd_on_activations")
    for level, activations in subject.activations.items():
        theirs = svd.get_2d_projection(activations.numpy()[None].copy())[0]
        ours = first_component(activations.numpy(), centred=True)
        assert cosine(ours, theirs) >= 0.9999, level


def test_flat_spectrum_is_exact() -> None:
    """Two directions of nearly the same strength, where power iterations give a mixture."""
    random = np.random.default_rng(2)
    basis, _ = np.linalg.qr(random.normal(size=(40, 2)))
    mixture = np.outer(1.001 * basis[:, 0], [1, 0, 0]) + np.outer(basis[:, 1], [0, 1, 0])
    found = first_component(mixture.T.reshape(3, 8, 5))
    assert cosine(found, basis[:, 0]) > 0.9999


def test_map_points_up_inside_the_predicted_box(subject: Subject) -> None:
    explanation = eigencam(subject, MethodOptions())
    for raw, box in zip(explanation.raw, subject.detections.boxes_xyxy_px, strict=True):
        assert box_contrast(subject.geometry.to_slice(raw), box) >= 0
    maps, flags = finish(explanation, subject.geometry)
    assert maps.shape == (2, 72, 64)
    assert maps.dtype == np.float16
    assert flags == ("", "")
    assert explanation.record["class_agnostic"] is True


def test_not_finite_activations_are_flagged(subject: Subject) -> None:
    broken = {level: one * float("nan") for level, one in subject.activations.items()}
    subject = dataclasses.replace(subject, activations=broken)
    maps, flags = finish(eigencam(subject, MethodOptions()), subject.geometry)
    assert flags == ("nan", "nan")
    assert not maps.any()


def test_contrast_at_the_border() -> None:
    values = np.zeros((4, 4))
    values[3, 3] = 1
    assert box_contrast(values, np.array([3.4, 3.4, 3.6, 3.6])) == pytest.approx(1)
    assert box_contrast(values, np.array([0, 0, 3, 3])) < 0
