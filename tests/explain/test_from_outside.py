"""D-RISE and occlusion on models that are linear in the pixels, where the map can be worked out."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lungct import registry
from lungct.errors import InputError, UsageError
from lungct.explain.base import MethodOptions, Subject
from lungct.explain.drise import drise, random_masks
from lungct.explain.network import Network
from lungct.explain.occlusion import occlusion, patches
from lungct.explain.targets import open_image

from .classifier import subject_of
from .conftest import DETECTORS, boxes_at, disc_slice, untrained

SIZE = 32


def linear(coefficients: Tensor) -> Subject:
    """f(X) = sum of c x over the pixels, on an image of ones."""

    def network(batch: Tensor) -> Tensor:
        return (batch.mean(dim=1) * coefficients).sum(dim=(1, 2))[:, None]

    return subject_of(network, lambda batch: batch, network, torch.ones(3, *coefficients.shape), [0])


def expected_products(size: int) -> np.ndarray:
    """(P, P) E[M_a M_b] of RISE's masks: p^2 + p (1 - p) times the overlap of two pixels' weights, over all shifts."""
    grid, p = registry.DRISE_GRID, registry.DRISE_KEPT
    cell = math.ceil(size / grid)
    basis = torch.eye((grid + 1) ** 2).reshape(-1, 1, grid + 1, grid + 1)
    up = F.interpolate(basis, size=[(grid + 1) * cell] * 2, mode="bilinear", align_corners=False)[:, 0].numpy()
    products = np.zeros((size * size,) * 2)
    for top in range(cell):
        for left in range(cell):
            weights = up[:, top : top + size, left : left + size].reshape(len(up), -1)
            products += weights.T @ weights
    return p**2 + p * (1 - p) * products / cell**2


def test_drise_converges_to_the_known_answer_of_a_linear_model() -> None:
    """E[map] = sum over a of c_a E[M_a M_b] / p; four times the masks halve the error."""
    coefficients = torch.zeros(SIZE, SIZE)
    coefficients[6:9, 20:24] = 1 / 24
    coefficients[25, 5] = 0.5
    expected = (coefficients.numpy().reshape(-1) @ expected_products(SIZE) / registry.DRISE_KEPT).reshape(SIZE, SIZE)
    subject = linear(coefficients)
    errors = []
    for masks in (400, 3600):
        (found,) = drise(subject, MethodOptions(masks=masks, batch=250, seed=2)).raw
        errors.append(float(np.sqrt(np.mean((found - expected) ** 2))))
    assert errors[1] < 0.02 * expected.max()
    assert errors[1] < 0.5 * errors[0]
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert abs(row - 25) <= 1
    assert abs(column - 5) <= 1


def test_masks_do_not_depend_on_the_batch_and_keep_half() -> None:
    together = random_masks(3, range(40), (20, 33))
    apart = torch.cat([random_masks(3, range(start, start + 8), (20, 33)) for start in range(0, 40, 8)])
    assert torch.equal(together, apart)
    assert together.shape == (40, 20, 33)
    assert 0 <= float(together.min()) <= float(together.max()) <= 1
    assert float(random_masks(0, range(400), (20, 20)).mean()) == pytest.approx(0.5, abs=0.01)
    assert not torch.equal(random_masks(4, range(2), (20, 33)), together[:2])


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_detection_is_most_like_itself(detector: str) -> None:
    """D-RISE's similarity is 1 on the unchanged image, up to FCOS's centre-ness, and less elsewhere."""
    from lungct.explain.targets import best
    from lungct.inference.detect import detect_arrays

    model, image_hu = untrained(detector), disc_slice((30, 40), 6)
    own = best(detect_arrays(model, [image_hu], score_threshold=0.05, amp="off")[0], 3, 0.05)
    subject = open_image(Network(model), image_hu, own)
    assert subject.similarity is not None
    found = subject.similarity(torch.stack((subject.image, torch.zeros_like(subject.image))))
    assert (found.score[0] > 0.3).all()
    if detector != "fcos":
        np.testing.assert_allclose(found.score[0].numpy(), 1, atol=1e-3)
        assert (found.score[1] < found.score[0]).all()
    assert not found.lost[0].any()


def test_a_missed_nodule_is_compared_with_its_label_alone() -> None:
    subject = open_image(
        Network(untrained("faster-rcnn")),
        disc_slice((30, 40), 6),
        boxes_at((24, 34, 36, 46)),
        missed=np.ones(1, bool),
    )
    assert subject.similarity.probabilities.tolist() == [[0, 1]]  # type: ignore[union-attr]


def test_occlusion_of_a_linear_model_is_the_mean_of_the_sums_under_the_patches() -> None:
    coefficients = torch.rand(12, 10, generator=torch.Generator().manual_seed(0))
    subject = linear(coefficients)  # pixels of .7 mm
    options = MethodOptions(patch_mm=2.8, stride_mm=1.4)
    (found,) = occlusion(subject, options).raw
    (rows, columns), corners = patches(subject, options)
    assert (rows, columns) == (4, 4)
    total, covered = np.zeros((12, 10)), np.zeros((12, 10))
    for top in (0, 2, 4, 6, 8):
        for left in (0, 2, 4, 6):
            total[top : top + 4, left : left + 4] += float(coefficients[top : top + 4, left : left + 4].sum())
            covered[top : top + 4, left : left + 4] += 1
    assert len(corners) == 20
    np.testing.assert_allclose(found, total / covered, rtol=1e-5)


def test_every_pixel_is_covered_whatever_the_stride() -> None:
    subject = linear(torch.ones(13, 11))
    for options in (
        MethodOptions(patch_mm=2.1, stride_mm=9.0),
        MethodOptions(patch_mm=0.7),
        MethodOptions(patch_mm=7.5),
    ):
        assert np.isfinite(occlusion(subject, options).raw[0]).all()


def test_a_patch_in_mm_needs_a_spacing_and_room() -> None:
    subject = linear(torch.ones(12, 10))
    with pytest.raises(InputError, match="no spacing"):
        occlusion(dataclasses.replace(subject, spacing_mm_yx=None), MethodOptions())
    with pytest.raises(UsageError, match="larger than the image"):
        occlusion(subject, MethodOptions(patch_mm=50))
