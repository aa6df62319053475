"""The rules of the literature on hand-computed cases: ties, several nodules, borders, constant maps, shapes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from lungct import registry
from lungct.game.rules.base import Score, load_rules
from lungct.game.rules.iou import expected_iou, otsu_levels
from lungct.game.saliency import Saliency
from lungct.game.target import Target, pixels_of

RULES = load_rules(registry.RULES)


def target(image: tuple[int, int], *boxes: tuple[float, float, float, float], **more: object) -> Target:
    every = np.array(boxes, dtype=np.float64)
    return Target(image, every[0], every, spacing_mm_xy=(0.5, 2.0), **more)  # type: ignore[arg-type]


def play(name: str, heatmap: np.ndarray, to: Target, threshold: float | None = None) -> Score:
    return RULES[name](Saliency(heatmap, threshold), to)


BOX = target((4, 5), (1, 1, 3, 2))  # 2 of 20 pixels
MAP = np.array([[0, 0, 0, 0, 0], [0, 4, 2, 4, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]], np.float32)


def test_levels_of_half_floats_are_those_of_floats() -> None:
    heatmap = np.random.default_rng(0).normal(size=(30, 31)).astype(np.float16)
    heatmap[:3] = 0
    heatmap[0] = -0.0
    half, single = Saliency(heatmap), Saliency(heatmap.astype(np.float32))
    for name in ("level", "sizes", "values", "brighter", "scaled"):
        np.testing.assert_array_equal(getattr(half, name), getattr(single, name))


def test_by_hand() -> None:
    """Of the map's 5 positive pixels the two of value 4 tie, one of them in the box, as is the 2."""
    assert play("pointing", MAP, BOX) == Score(0.5, 0.1, 1.0)
    assert play("energy", MAP, BOX) == Score(0.5, 0.1, 1.0)
    assert play("relevance-rank", MAP, BOX) == Score(0.5, 0.1, 1.0)
    assert play("top-k", MAP, BOX) == Score(0.1, 0.1, 0.1)  # the image has only 20 pixels
    # the 4s select 2 pixels, 1 in the box: 1 / (2 + 2 - 1); with the 2: 2 / 3
    assert play("iou-validated", MAP, BOX, 0.9).value == pytest.approx(1 / 3)
    assert play("iou-validated", MAP, BOX, 0.5).value == pytest.approx(2 / 3)
    assert play("iou-oracle", MAP, BOX).value == pytest.approx(2 / 3)
    # Otsu parts {4, 4, 2} from the rest
    assert otsu_levels(Saliency(MAP)) == 2
    assert play("iou-otsu", MAP, BOX).value == pytest.approx(2 / 3)
    # two orders of the tied 4s: precision at ranks (1, 3) or (2, 3)
    assert play("auprc", MAP, BOX).value == pytest.approx(((1 + 2 / 3) / 2 + (1 / 2 + 2 / 3) / 2) / 2)


def test_error_in_mm_by_hand() -> None:
    """Pixels (1, 1) and (1, 3) tie; the box's centre is at x 2, y 1.5; pixels are .5 x 2 mm."""
    score = play("error-mm", MAP, BOX)
    assert score.value == pytest.approx((0.5 * 0.5 + 1.5 * 0.5) / 2)
    assert score.ceiling == pytest.approx(0.25)
    assert score.chance > score.value
    assert 0 < score.normalised < 1
    unknown = play("error-mm", MAP, Target((4, 5), BOX.box_xyxy_px, BOX.boxes_xyxy_px))
    assert np.isnan(unknown.value)
    assert unknown.reason == "no pixel spacing"


def test_energy_elsewhere_by_hand() -> None:
    both = target((4, 5), (1, 1, 3, 2), (2, 1, 4, 3))  # they share the 2; the other alone holds 4, 1, 0
    score = play("energy-elsewhere", MAP, both)
    assert (score.value, score.chance, score.ceiling) == (pytest.approx(5 / 12), 3 / 20, 0.0)
    assert score.normalised == pytest.approx((5 / 12 - 0.15) / -0.15)
    assert play("energy-elsewhere", MAP, BOX).reason == "no other true nodule in the image"


def test_negative_values_carry_no_energy() -> None:
    assert play("energy", MAP - 2, BOX).value == pytest.approx(2 / 4)
    assert play("energy", MAP - 9, BOX).reason == "no positive value in the map"


def test_proximity_by_hand() -> None:
    """The top 2 are one pixel in the box and one .5 px right of it; the box is 2 px wide."""
    assert play("proximity", MAP, BOX).value == pytest.approx((1 + np.exp(-0.5 / 2)) / 2)
    assert play("proximity", MAP, BOX).ceiling == 1.0


def test_average_precision_is_scikit_learns_where_nothing_ties() -> None:
    random = np.random.default_rng(3)
    heatmap = random.permutation(24 * 30).reshape(24, 30).astype(np.float32)
    to = target((24, 30), (4, 4, 11, 9))
    expected = average_precision_score(to.inside.ravel(), heatmap.ravel())
    assert play("auprc", heatmap, to).value == pytest.approx(expected, rel=1e-9)


def test_average_precision_of_ties_is_the_mean_over_their_orders() -> None:
    random = np.random.default_rng(4)
    heatmap = random.integers(0, 4, (6, 7)).astype(np.float32)
    to = target((6, 7), (1, 1, 4, 5))
    broken = [average_precision_score(to.inside.ravel(), heatmap.ravel() + 0.5 * random.random(42)) for _ in range(600)]
    error = np.std(broken) / np.sqrt(600)
    assert abs(np.mean(broken) - play("auprc", heatmap, to).value) < 3 * error


def test_expected_iou_by_hand() -> None:
    """2 of 4 pixels selected, 2 in the nodule: 0, 1, 2 hits with chances 1/6, 4/6, 1/6 and IoU 0, 1/3, 1."""
    assert expected_iou(4, 2, 2) == pytest.approx(4 / 18 + 1 / 6)
    assert expected_iou(10, 3, 10) == pytest.approx(0.3)


@pytest.mark.parametrize(
    "name", [one for one in RULES if one not in ("iou-validated", "energy-elsewhere", "iou-oracle")]
)
@pytest.mark.parametrize("box", [(4, 4, 9, 8), (0, 0, 3, 3), (25, 18, 30, 24), (-2, 10, 2, 14)])
def test_a_constant_map_is_chance(name: str, box: tuple[float, float, float, float]) -> None:
    score = play(name, np.full((24, 30), 0.3, np.float16), target((24, 30), box))
    assert score.value == pytest.approx(score.chance)
    assert score.normalised == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("box", [(4, 4, 9, 8), (0, 0, 3, 3), (24, 18, 30, 24)])
@pytest.mark.parametrize("shape", ["box", "ellipse", "mask"])
def test_the_ideal_map_meets_the_ceiling(name: str, box: tuple[float, float, float, float], shape: str) -> None:
    masks = [pixels_of((24, 30), np.array(one), ellipse=True) for one in (box, (12, 2, 16, 6))]
    to = target((24, 30), box, (12, 2, 16, 6), shape=shape, masks=masks)
    if name in ("energy", "energy-elsewhere") or name.startswith("iou"):
        ideal = to.inside.astype(np.float32)
    elif name == "error-mm":
        assert to.off_centre_mm is not None
        ideal = -to.off_centre_mm.reshape(24, 30)
    elif name == "fixed":
        ideal = np.isin(np.arange(24 * 30), to.inside_any_flat).reshape(24, 30).astype(np.float32)
    else:
        ideal = -to.distance_px.reshape(24, 30)
    score = play(name, ideal, to, 0.5)
    assert score.value == pytest.approx(score.ceiling, abs=1e-9)
    if score.ceiling != score.chance:
        assert score.normalised == pytest.approx(1, abs=1e-9)


def test_shapes() -> None:
    box = np.array([2.0, 1.0, 10.0, 7.0])
    ellipse = pixels_of((9, 13), box, ellipse=True)
    assert ellipse.sum() < pixels_of((9, 13), box).sum()
    assert not ellipse[1, 2]
    assert ellipse[1, 5]
    assert ellipse.sum() == pytest.approx(np.pi * 4 * 3, rel=0.1)
    assert pixels_of((9, 13), np.array([3.2, 3.2, 3.4, 3.4]), ellipse=True).nonzero() == (np.array([3]), np.array([3]))
    mask = np.zeros((9, 13), bool)
    mask[4, 3:6] = True
    to = Target((9, 13), box, box[None], shape="mask", masks=[mask], spacing_mm_xy=(1, 1))
    assert to.area == 3
    assert to.distance_px.reshape(9, 13)[4, 9] == 4
    assert to.off_centre_mm is not None
    assert to.off_centre_mm.reshape(9, 13)[4, 4] == 0


def test_only_the_ordering_and_scale_of_a_map_count() -> None:
    heatmap = np.random.default_rng(1).random((24, 30))
    to = target((24, 30), (4, 4, 11, 9), (20, 20, 24, 23))
    for name in RULES:
        assert play(name, heatmap, to, 0.5).value == pytest.approx(play(name, 3 * heatmap, to, 0.5).value), name
