"""The distributions that patients are drawn from."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lungct.phantom.sampling import KINDS, PLACES, NoduleDraw, draw_body, draw_nodule, draw_nodules, draw_scanner
from lungct.phantom.sampling import has_nodules as bears


@pytest.fixture(scope="module")
def draws() -> list[NoduleDraw]:
    rng = np.random.default_rng(5)
    return [draw_nodule(rng) for _ in range(3000)]


def test_diameters_are_those_of_screening(draws: list[NoduleDraw]) -> None:
    diameters = np.array([one.diameter_mm for one in draws])
    assert diameters.min() >= 4.0
    assert diameters.max() <= 30.0
    assert ((diameters >= 5) & (diameters <= 14)).mean() > 0.65
    assert (diameters > 20).mean() > 0.005


def test_every_kind_and_place_occurs(draws: list[NoduleDraw]) -> None:
    for kind in KINDS:
        assert np.mean([one.kind == kind for one in draws]) > 0.1
    for place in PLACES:
        assert np.mean([one.place == place for one in draws]) > 0.2


def test_malignancy_follows_size_and_spiculation(draws: list[NoduleDraw]) -> None:
    malignant = np.array([one.malignant for one in draws])
    assert 0.12 < malignant.mean() < 0.35
    assert roc_auc_score(malignant, [one.diameter_mm for one in draws]) > 0.7
    assert roc_auc_score(malignant, [one.spiculation for one in draws]) > 0.75
    of_one_size = [one for one in draws if 9 < one.diameter_mm < 12]
    assert roc_auc_score([one.malignant for one in of_one_size], [one.spiculation for one in of_one_size]) > 0.65


def test_densities_belong_to_the_kind(draws: list[NoduleDraw]) -> None:
    for one in draws:
        if one.kind == "solid":
            assert one.hu >= -10
            assert one.hu <= 70 or not one.malignant
        else:
            assert -700 <= one.hu <= -520
            assert one.diameter_mm >= 6 or one.kind == "ground-glass"


def test_one_to_four_nodules_largest_first() -> None:
    rng = np.random.default_rng(2)
    patients = [draw_nodules(rng) for _ in range(400)]
    counts = [len(one) for one in patients]
    assert set(counts) == {1, 2, 3, 4}
    assert 2.3 < np.mean(counts) < 2.7
    for patient in patients:
        diameters = [one.diameter_mm for one in patient]
        assert diameters == sorted(diameters, reverse=True)


@pytest.mark.parametrize("seed", range(4))
def test_one_patient_in_eight_has_no_nodule(seed: int) -> None:
    bearing = np.array([bears(seed, index) for index in range(64)]).reshape(8, 8)
    assert (bearing.sum(axis=1) == 7).all()
    assert bearing[:, :4].all()


def test_scanners_differ_and_hold_the_lungs() -> None:
    tilted = flipped = 0
    spacings = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        body = draw_body(rng)
        grid = draw_scanner(rng, body, 256, 120).grid
        matrix = grid.direction_matrix
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
        tilted += not np.allclose(np.abs(matrix), np.eye(3))
        flipped += bool((np.diag(matrix) < 0).any())
        spacings.add(grid.spacing_mm_zyx)
        assert 330 / 256 - 1e-6 <= grid.spacing_mm_zyx[1] <= 400 / 256 + 1e-6
        assert 256 * grid.spacing_mm_zyx[2] >= 2 * (body.half_width - body.wall) + 20
        assert 1.0 <= grid.spacing_mm_zyx[0] <= 2.5
        assert 200 <= 120 * grid.spacing_mm_zyx[0] <= 300
    assert 8 < tilted < 32
    assert 10 < flipped < 38
    assert len(spacings) == 40
