"""Outlines of one nodule come together whatever their order, and those that only touch stay apart."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lungct.ct.consensus import Outline, agree


def ball(center: tuple[float, float, float], radius: float, reader: int) -> Outline:
    grid = np.stack(np.meshgrid(*(np.arange(30),) * 3, indexing="ij"), -1)
    return Outline(reader, np.argwhere(((grid - np.array(center)) ** 2).sum(-1) <= radius**2))


BALLS = [
    ball((8, 8, 8), 4, 0),
    ball((8, 9, 8), 4, 1),
    ball((8, 8, 9), 5, 2),
    ball((22, 8, 8), 3, 0),
    ball((22, 8, 8), 3, 3),
    ball((8, 22, 22), 2, 1),
]


@given(st.permutations(range(len(BALLS))), st.permutations(range(4)))
def test_order_has_no_influence(order: list[int], readers: list[int]) -> None:
    given_order = [Outline(readers[BALLS[one].reader], BALLS[one].voxels_zyx) for one in order]
    found = agree(given_order)
    assert [group.readers for group in found] == [3, 1, 2]
    assert [sorted(order[one] for one in group.outlines) for group in found] == [[0, 1, 2], [5], [3, 4]]
    for group, expected in zip(found, agree(BALLS), strict=True):
        assert group.voxels_zyx.tolist() == expected.voxels_zyx.tolist()


def test_voxels_are_those_of_half_of_the_readers() -> None:
    (group,) = agree(BALLS[:3])
    sets = [set(map(tuple, one.voxels_zyx.tolist())) for one in BALLS[:3]]
    kept = set(map(tuple, group.voxels_zyx.tolist()))
    assert kept == {voxel for voxel in set().union(*sets) if sum(voxel in one for one in sets) >= 2}
    (pair,) = agree(BALLS[:2])
    assert set(map(tuple, pair.voxels_zyx.tolist())) == sets[0] | sets[1]


def test_outlines_that_only_touch_are_two_nodules() -> None:
    beside = ball((8, 15, 8), 4, 1)
    assert len(agree([BALLS[0], beside])) == 2
    assert len(agree([BALLS[0], ball((8, 11, 8), 4, 1)])) == 1


def test_one_reader_never_agrees_with_himself() -> None:
    assert [group.readers for group in agree([BALLS[0], ball((8, 9, 8), 4, 0)])] == [1, 1]


def test_ones_whole_joins_the_others_parts() -> None:
    parts = [ball((8, 8, 8), 3, 0), ball((8, 14, 8), 3, 0)]
    whole = Outline(1, np.unique(np.concatenate([one.voxels_zyx for one in parts]), axis=0))
    (group,) = agree([*parts, whole])
    assert (group.readers, len(group.outlines), len(group.voxels_zyx)) == (2, 3, len(whole.voxels_zyx))


def test_nothing_drawn_is_no_nodule() -> None:
    assert agree([]) == []
