"""The three published rules, and their repairs, on cases small enough to count by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lungct import registry
from lungct.game.rules.base import Rule, Score, load_rules
from lungct.game.saliency import Saliency
from lungct.game.target import Target, box_distance_px, pixels_of


def on_arrays(rule: Rule) -> Callable[[np.ndarray, Target], Score]:
    return lambda heatmap, target: rule(Saliency(heatmap), target)


REPAIRED = {name: on_arrays(rule) for name, rule in load_rules(registry.PUBLISHED_RULES).items()}
THESIS = {name: on_arrays(rule) for name, rule in load_rules(registry.PUBLISHED_RULES, "thesis").items()}


def box_distance(shape: tuple[int, int], box: np.ndarray) -> np.ndarray:
    return box_distance_px(shape, box) / np.hypot(*shape)


def target(shape: tuple[int, int], *boxes: tuple[float, float, float, float]) -> Target:
    """Seen from the first box."""
    every = np.array(boxes, dtype=np.float64)
    return Target(shape, every[0], every)


def one_hot(shape: tuple[int, int], *pixels: tuple[int, int]) -> np.ndarray:
    """Pixels given by falling brightness, all others 0."""
    heatmap = np.zeros(shape, np.float32)
    for rank, (row, column) in enumerate(pixels):
        heatmap[row, column] = 1 - rank / 100
    return heatmap


@pytest.mark.parametrize(
    ("count", "expected"), [(1, 1.0), (2, 0.5 * (1 + 2 / 3)), (3, (1 + 2 * 2 / 3) / 3), (4, 3 / 4), (5, 3 / 5)]
)
def test_ties_count_by_the_fraction_that_fits(count: int, expected: float) -> None:
    """Values 9, then three ties of which two gain, then 0: expectation over a random order of the ties."""
    heatmap = np.array([9, 5, 5, 5, 0.0])
    gain = np.array([1, 1, 1, 0, 0])
    saliency = Saliency(heatmap)
    assert saliency.share_of_top(count, np.flatnonzero(gain)) == pytest.approx(expected)
    assert saliency.mean_over_top(count, gain) == pytest.approx(expected)


def test_pixels_are_those_whose_centre_is_inside() -> None:
    assert pixels_of((4, 4), np.array([1, 1, 3, 2])).nonzero()[1].tolist() == [1, 2]
    assert pixels_of((4, 4), np.array([0.6, 0, 1.6, 1])).nonzero()[1].tolist() == [1]
    assert pixels_of((4, 4), np.array([2.6, 1.6, 2.9, 1.9])).nonzero() == (np.array([1]), np.array([2]))
    assert pixels_of((4, 4), np.array([-2, 3, 1, 9])).sum() == 1


def test_distance_by_hand() -> None:
    distance = box_distance((6, 8), np.array([2, 2, 4, 4])) * 10
    assert distance[2:4, 2:4].max() == 0
    assert distance[3, 6] == pytest.approx(2.5)
    assert distance[0, 3] == pytest.approx(1.5)
    assert distance[0, 6] == pytest.approx((1.5**6 + 2.5**6) ** (1 / 6))


def test_fixed_by_hand() -> None:
    """20 x 20 px: the top .5 % are 2 pixels, one of them inside a box of 4."""
    score = REPAIRED["fixed"](one_hot((20, 20), (5, 5), (0, 0)), target((20, 20), (4, 4, 6, 6)))
    assert (score.value, score.chance, score.ceiling) == (0.5, 4 / 400, 1.0)
    assert score.normalised == pytest.approx((0.5 - 0.01) / 0.99)


def test_fixed_takes_any_true_box_and_adaptive_its_own() -> None:
    boxes = target((20, 20), (4, 4, 6, 6), (10, 10, 12, 12))
    heatmap = one_hot((20, 20), (10, 10), (11, 11))
    score = REPAIRED["fixed"](heatmap, boxes)
    assert (score.value, score.chance) == (1.0, 8 / 400)
    assert REPAIRED["adaptive"](heatmap, boxes).value < 0.01


def test_fixed_ceiling_of_a_box_smaller_than_the_top() -> None:
    """40 x 40 px: 8 top pixels, a box of 4: at best one half is inside."""
    heatmap = pixels_of((40, 40), np.array([4, 4, 6, 6])).astype(np.float32)
    score = REPAIRED["fixed"](heatmap + 1e-6 * np.arange(1600).reshape(40, 40), target((40, 40), (4, 4, 6, 6)))
    assert (score.value, score.ceiling, score.normalised) == (0.5, 0.5, 1.0)


def test_adaptive_by_hand() -> None:
    """A box of 2 pixels: the top 4 hold one of it, then two ties of which one is inside."""
    boxes = target((10, 10), (3, 3, 5, 4))
    score = REPAIRED["adaptive"](one_hot((10, 10), (3, 3), (0, 0), (0, 1), (0, 2)), boxes)
    assert (score.value, score.chance, score.ceiling) == (0.25, 0.02, 0.5)
    tied = one_hot((10, 10), (3, 3), (0, 0), (0, 1))
    tied[3, 4] = tied[9, 9] = 0.5
    assert REPAIRED["adaptive"](tied, boxes).value == pytest.approx((1 + 0.5) / 4)


def test_inverse_distance_by_hand() -> None:
    """A box of 1 pixel: the top round(2.8) = 3, one inside, two at distances 1.5 and 4.5 of a diagonal of 10."""
    heatmap = one_hot((6, 8), (1, 1), (1, 3), (1, 6))
    score = REPAIRED["inverse-distance"](heatmap, target((6, 8), (1, 1, 2, 2)))
    assert score.value == pytest.approx(1 - (0 + 0.15 + 0.45) / 3)
    assert score.ceiling == pytest.approx(1 - (0 + 0.05 + 0.05) / 3)
    assert score.chance == pytest.approx(1 - box_distance((6, 8), np.array([1, 1, 2, 2])).mean())


@pytest.mark.parametrize("name", REPAIRED)
@pytest.mark.parametrize("box", [(4, 4, 9, 8), (0, 0, 3, 3), (25, 18, 30, 24), (-2, 10, 2, 14)])
def test_a_constant_map_is_chance(name: str, box: tuple[float, float, float, float]) -> None:
    score = REPAIRED[name](np.full((24, 30), 0.3, np.float32), target((24, 30), box))
    assert score.value == pytest.approx(score.chance)
    assert score.normalised == pytest.approx(0)


@pytest.mark.parametrize("name", REPAIRED)
@pytest.mark.parametrize("box", [(4, 4, 9, 8), (0, 0, 3, 3), (25, 18, 30, 24)])
def test_the_ideal_map_meets_the_ceiling(name: str, box: tuple[float, float, float, float]) -> None:
    boxes = target((24, 30), box)
    score = REPAIRED[name]((1 - boxes.distance_px.reshape(24, 30) / 99).astype(np.float32), boxes)
    assert score.value == pytest.approx(score.ceiling, abs=1e-6)
    assert score.normalised == pytest.approx(1, abs=1e-5)


def test_chance_holds_for_smooth_maps_as_well() -> None:
    """Blobs anywhere in the image: dependence among pixels changes the spread, not the mean."""
    boxes = target((48, 48), (20, 12, 28, 20))
    random = np.random.default_rng(0)
    y, x = np.mgrid[:48, :48]
    values = []
    for _ in range(400):
        row, column = random.integers(0, 48, 2)
        wrapped = (
            np.minimum(abs(y - row), 48 - abs(y - row)) ** 2 + np.minimum(abs(x - column), 48 - abs(x - column)) ** 2
        )
        values.append(REPAIRED["adaptive"](np.exp(-wrapped / 50), boxes).value)
    chance = 64 / 48**2
    assert abs(np.mean(values) - chance) <= 3 * np.std(values, ddof=1) / np.sqrt(400)


def test_a_box_that_fills_the_image_has_no_scale() -> None:
    score = REPAIRED["adaptive"](np.random.default_rng(0).random((8, 8)), target((8, 8), (0, 0, 8, 8)))
    assert np.isnan(score.normalised)


@pytest.mark.parametrize("name", THESIS)
def test_published_and_repaired_agree_where_nothing_is_broken(name: str) -> None:
    """No ties, one box, an integral box area and selection: the repairs change nothing."""
    heatmap = np.random.default_rng(1).permutation(40 * 40).reshape(40, 40).astype(np.float64)
    boxes = target((40, 40), (10, 12, 20, 17))
    rule = THESIS[name]
    assert rule(heatmap, boxes).value == pytest.approx(REPAIRED[name](heatmap, boxes).value)
    assert rule(heatmap, boxes).chance == pytest.approx(REPAIRED[name](heatmap, boxes).chance)


def test_published_flaws_are_kept() -> None:
    constant = np.ones((20, 20), np.float32)
    boxes = target((20, 20), (0, 0, 4, 2))
    assert THESIS["fixed"](constant, boxes).value == pytest.approx(8 / 400)
    assert THESIS["adaptive"](constant, boxes).value == pytest.approx(4 / 16)  # the first row wins all ties
    both = Target((20, 20), np.array([10.0, 10, 14, 14]), np.array([[0.0, 0, 4, 4], [10.0, 10, 14, 14]]))
    second = pixels_of((20, 20), both.box_xyxy_px).astype(np.float64)
    assert THESIS["adaptive"](second + 1e-9 * np.arange(400).reshape(20, 20), both).value < 0.1
    assert REPAIRED["adaptive"](second + 1e-9 * np.arange(400).reshape(20, 20), both).value == 0.5
