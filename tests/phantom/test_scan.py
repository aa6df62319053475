"""Whole phantoms: a chest in plausible HU, and truth that holds to the voxel."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
from scipy import ndimage

from lungct.phantom.sampling import has_nodules
from lungct.phantom.scan import Phantom, render_phantom
from lungct.types import Volume

SEED = 24


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom]:
    return [render_phantom(SEED, index, size=96, slices=36) for index in range(8)]


def to_itk(volume: Volume) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(volume.hu)
    image.SetSpacing(volume.grid.spacing_mm_zyx[::-1])
    image.SetOrigin(volume.grid.origin_lps_mm)
    image.SetDirection(volume.grid.direction)
    return image


def test_truth_is_the_hull_of_the_labelled_voxels_in_the_world(phantoms: list[Phantom]) -> None:
    tilted = 0
    for phantom in phantoms:
        image = to_itk(phantom.labels)
        tilted += not np.allclose(np.abs(phantom.labels.grid.direction_matrix), np.eye(3))
        for label, nodule in enumerate(phantom.nodules, 1):
            z, y, x = np.nonzero(phantom.labels.hu == label)
            corners = [
                image.TransformContinuousIndexToPhysicalPoint((float(i) + a, float(j) + b, float(k) + c))
                for i, j, k in zip(x, y, z, strict=True)
                for a in (-0.5, 0.5)
                for b in (-0.5, 0.5)
                for c in (-0.5, 0.5)
            ]
            low = np.array(nodule.center_lps_mm) - np.array(nodule.size_mm) / 2
            high = np.array(nodule.center_lps_mm) + np.array(nodule.size_mm) / 2
            np.testing.assert_allclose(low, np.min(corners, axis=0), atol=1e-4)
            np.testing.assert_allclose(high, np.max(corners, axis=0), atol=1e-4)
    assert tilted >= 2


def test_nodules_are_whole_apart_and_clear_of_the_border(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        labels = phantom.labels.hu
        assert set(np.unique(labels)) == set(range(len(phantom.nodules) + 1))
        for face in (labels[0], labels[-1], labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
            assert not face.any()
        for label in range(1, len(phantom.nodules) + 1):
            assert ndimage.label(labels == label)[1] == 1
        assert ndimage.label(labels > 0, np.ones((3, 3, 3)))[1] == len(phantom.nodules)


def test_one_of_eight_is_free_of_nodules(phantoms: list[Phantom]) -> None:
    for index, phantom in enumerate(phantoms):
        assert bool(phantom.nodules) == has_nodules(SEED, index)
    assert sum(bool(one.nodules) for one in phantoms) == 7


def test_lungs_soft_tissue_and_bone_have_their_hu(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        hu = phantom.volume.hu
        assert hu.dtype == np.int16
        assert hu.min() >= -1024
        dark, _ = ndimage.label(ndimage.binary_opening(hu < -500))
        outside = np.unique(np.concatenate([dark[:, 0].ravel(), dark[:, -1].ravel()]))
        lungs = (dark > 0) & ~np.isin(dark, outside)
        assert -890 < hu[lungs].mean() < -790
        assert 0.05 < lungs.mean() < 0.45
        assert 20 < np.median(hu[(hu > 0) & (hu < 120)]) < 70
        assert (hu > 300).mean() > 0.003


@pytest.mark.parametrize("kind", ["solid", "ground-glass"])
def test_kinds_differ_in_hu(phantoms: list[Phantom], kind: str) -> None:
    seen = 0
    for phantom in phantoms:
        for label, nodule in enumerate(phantom.nodules, 1):
            inner = ndimage.binary_erosion(phantom.labels.hu == label)
            if nodule.draw.kind == kind and inner.sum() >= 4:
                seen += 1
                assert np.median(phantom.volume.hu[inner]) == pytest.approx(nodule.draw.hu, abs=70)
    assert seen >= 2


def test_part_solid_ones_have_both_densities(phantoms: list[Phantom]) -> None:
    seen = 0
    for phantom in phantoms:
        for label, nodule in enumerate(phantom.nodules, 1):
            if nodule.draw.kind == "part-solid":
                seen += 1
                found = phantom.volume.hu[phantom.labels.hu == label]
                assert (found > -350).mean() > 0.01
                assert ((found > -800) & (found < -400)).mean() > 0.3
    assert seen >= 2


def test_noise_is_correlated_and_as_loud_as_drawn(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        rows = phantom.volume.hu.shape[1]
        middle = slice(rows // 2 - 6, rows // 2 + 6)
        block = phantom.volume.hu[:, middle, middle].astype(float)
        soft = (block > -20) & (block < 110)
        rough = np.diff(block, axis=2)[soft[:, :, 1:] & soft[:, :, :-1]].std() / np.sqrt(2)
        assert 0.4 * phantom.scanner.noise_hu < rough < 1.5 * phantom.scanner.noise_hu


def test_only_seed_and_patient_matter() -> None:
    first = render_phantom(7, 2, size=64, slices=20)
    again = render_phantom(7, 2, size=64, slices=20)
    np.testing.assert_array_equal(first.volume.hu, again.volume.hu)
    np.testing.assert_array_equal(first.labels.hu, again.labels.hu)
    assert first.nodules == again.nodules
    assert not np.array_equal(first.volume.hu, render_phantom(8, 2, size=64, slices=20).volume.hu)
    assert not np.array_equal(first.volume.hu, render_phantom(7, 3, size=64, slices=20).volume.hu)
