"""Places of nodules: apart from each other, at the depth that their kind of place asks for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lungct.phantom.lattice import Lattice
from lungct.phantom.placing import GAP_MM, Room, place_nodules
from lungct.phantom.sampling import NoduleDraw
from lungct.phantom.vessels import Balls
from lungct.types import Grid


def ball_of_lung(radius_mm: float) -> Room:
    grid = Grid((50, 60, 60), (2.0, 2.0, 2.0), (-59.0, -59.0, -49.0))
    lattice = Lattice.over(grid)
    distance = np.sqrt(sum(np.square(one) for one in lattice.points_lps_mm(np.zeros(3))))
    line = np.stack([np.linspace(-radius_mm, radius_mm, 200), np.zeros(200), np.zeros(200)], axis=1)
    return Room.of(lattice, (radius_mm - distance).astype(np.float32), Balls(line, np.full(200, 1.0)))


def nodule(place: str, diameter_mm: float) -> NoduleDraw:
    return NoduleDraw("solid", place, diameter_mm, 0.0, 30.0, 30.0, 0)


@pytest.mark.parametrize("seed", range(8))
def test_nodules_keep_apart(seed: int) -> None:
    draws = tuple(nodule("isolated", diameter) for diameter in (16.0, 12.0, 10.0, 9.0))
    placed = place_nodules(ball_of_lung(42.0), draws, 4.0, np.random.default_rng(seed))
    assert len(placed) == 4
    for (one, here), (other, there) in itertools.combinations(placed, 2):
        assert np.linalg.norm(here - there) > (one.diameter_mm + other.diameter_mm) / 2 * 1.3 + GAP_MM


@pytest.mark.parametrize("seed", range(5))
def test_places_have_their_depth(seed: int) -> None:
    rng = np.random.default_rng(seed)
    room = ball_of_lung(42.0)
    ((_, free),) = place_nodules(room, (nodule("isolated", 10.0),), 4.0, rng)
    assert 42.0 - np.linalg.norm(free) > 6.0
    ((_, pleural),) = place_nodules(room, (nodule("juxta-pleural", 10.0),), 4.0, rng)
    assert 2.0 < 42.0 - np.linalg.norm(pleural) < 6.0
    ((_, attached),) = place_nodules(room, (nodule("vessel-attached", 10.0),), 4.0, rng)
    assert np.hypot(attached[1], attached[2]) < 5.001


def test_a_nodule_shrinks_to_fit_or_is_left_out() -> None:
    room = ball_of_lung(10.0)
    ((shrunk, _),) = place_nodules(room, (nodule("isolated", 20.0),), 4.0, np.random.default_rng(0))
    assert 4.0 <= shrunk.diameter_mm < 14.0
    assert place_nodules(room, (nodule("isolated", 20.0),), 18.0, np.random.default_rng(0)) == []
