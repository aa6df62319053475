"""The maps that explain nothing: each is what its name says, and the same every time."""

from __future__ import annotations

import numpy as np

from lungct.explain.controls import control_map, edges, gaussian

BOX = np.array([10.0, 20.0, 18.0, 24.0])


def test_gaussian_has_half_the_box_as_sigma() -> None:
    bump = gaussian((64, 48), BOX)
    rows, columns = np.arange(64) + 0.5, np.arange(48) + 0.5
    row, column = bump.sum(axis=1) / bump.sum(), bump.sum(axis=0) / bump.sum()
    np.testing.assert_allclose([rows @ row, columns @ column], [22, 14], atol=1e-2)
    np.testing.assert_allclose(np.sqrt((rows - 22) ** 2 @ row), 2, atol=1e-2)
    np.testing.assert_allclose(np.sqrt((columns - 14) ** 2 @ column), 4, atol=5e-2)


def test_edges_are_at_the_step_and_clipped() -> None:
    image = np.full((6, 8), -3000, np.int16)
    image[:, 4:] = 3000
    found = edges(image)
    assert (found[:, 3:5] == 1).all()
    assert (found[:, :3] == 0).all()
    assert not edges(np.zeros((4, 4), np.int16)).any()


def test_uniform_follows_from_seed_image_and_box() -> None:
    image = np.zeros((32, 32), np.int16)
    first = control_map("uniform", image, BOX, image_id=3, seed=1)
    np.testing.assert_array_equal(first, control_map("uniform", image, BOX, image_id=3, seed=1))
    for other in (
        control_map("uniform", image, BOX, image_id=3, seed=2),
        control_map("uniform", image, BOX, image_id=4, seed=1),
        control_map("uniform", image, BOX + 1, image_id=3, seed=1),
    ):
        assert (first != other).any()


def test_constant_is_constant() -> None:
    assert np.unique(control_map("constant", np.zeros((3, 3), np.int16), BOX, image_id=1, seed=0)).size == 1
