"""Every rule's stated chance level against random maps, for nodules of 3 to 30 mm; and its freedom from their size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lungct import registry
from lungct.game.rules.base import load_rules
from lungct.game.saliency import Saliency
from lungct.game.target import Target
from lungct.report.game_figures import rules_over_size

RULES = load_rules(registry.RULES)
SPACING_MM = 0.7
SHAPE = (112, 120)


def nodule(diameter_mm: float, shape: tuple[int, int] = SHAPE, *, spacing: float = SPACING_MM) -> Target:
    """A box of so many mm, and a smaller one far from it."""
    side = diameter_mm / spacing
    x, y = 0.45 * shape[1], 0.55 * shape[0]
    boxes = np.array([[x - side / 2, y - side / 2, x + side / 2, y + side / 2], [2.0, 3.0, 9.0, 8.0]])
    return Target(shape, boxes[0], boxes, spacing_mm_xy=(spacing, spacing))


@pytest.mark.parametrize("diameter_mm", [3, 8, 30])
def test_random_maps_meet_chance(diameter_mm: float) -> None:
    """150 random maps: the mean of value - chance is within 3 standard errors of 0, rule by rule."""
    to = nodule(diameter_mm)
    random = np.random.default_rng(int(10 * diameter_mm))
    off: dict[str, list[float]] = {name: [] for name in RULES}
    for _ in range(150):
        saliency = Saliency(random.random(SHAPE, dtype=np.float32), 0.97)
        for name, rule in RULES.items():
            score = rule(saliency, to)
            off[name].append(score.value - score.chance)
    for name, values in off.items():
        error = np.std(values, ddof=1) / np.sqrt(len(values))
        if name == "pointing":  # rarely ever hit: the standard error that chance itself has
            error = np.sqrt(to.area / to.pixels / len(values))
        if name == "iou-oracle":  # its chance is itself a mean of 400 draws
            error *= np.sqrt(1 + len(values) / 400)
        assert abs(np.mean(values)) <= 3 * error, name


def test_chance_holds_for_smooth_maps_as_well() -> None:
    """Blobs anywhere in the image: dependence among pixels changes the spread, not the mean, of what is linear."""
    to = nodule(8, (48, 48))
    random = np.random.default_rng(0)
    y, x = np.mgrid[:48, :48]
    linear = ("adaptive", "relevance-rank", "energy", "pointing", "inverse-distance", "error-mm", "proximity")
    off: dict[str, list[float]] = {name: [] for name in linear}
    for _ in range(400):
        row, column = random.integers(0, 48, 2)
        down, across = (np.minimum(abs(a - b), 48 - abs(a - b)) for a, b in ((y, row), (x, column)))
        saliency = Saliency(np.exp(-(down**2 + across**2) / 50))
        for name in linear:
            score = RULES[name](saliency, to)
            off[name].append(score.value - score.chance)
    for name, values in off.items():
        assert abs(np.mean(values)) <= 3 * np.std(values, ddof=1) / np.sqrt(400), name


def displaced(to: Target, diameters: float) -> Saliency:
    """A Gaussian of the nodule's width, so many diameters off its centre."""
    x1, y1, x2, y2 = to.box_xyxy_px
    down, across = (np.arange(size) + 0.5 for size in to.shape_yx)
    sigma = to.diameter_px / 2
    x, y = (x1 + x2) / 2 + diameters * to.diameter_px, (y1 + y2) / 2
    return Saliency(np.exp(-(((across[None] - x) ** 2 + (down[:, None] - y) ** 2) / (2 * sigma**2))))


@pytest.mark.parametrize("diameters", [0.0, 0.25, 0.5, 1.0])
def test_normalised_scores_do_not_depend_on_size(diameters: float) -> None:
    """Nodules of 4 to 30 mm on a slice of 360 mm; the rules that are bound to size are named, and do depend on it."""
    free = [name for name in registry.UNASKED_RULES if name not in (*registry.SIZE_BOUND_RULES, "energy-elsewhere")]
    spread = {name: [] for name in free}
    for diameter_mm in (4.2, 8.4, 16.8, 29.4):
        to = nodule(diameter_mm, (512, 512))
        saliency = displaced(to, diameters)
        for name in free:
            spread[name].append(RULES[name](saliency, to).normalised)
    for name, values in spread.items():
        assert max(values) - min(values) < 0.1, (name, values)  # what the pixel grid does to 6 pixels


def test_a_figure_shows_which_rules_depend_on_size(tmp_path: Path) -> None:
    """Nodules of 3 to 30 mm under a map .4 diameters off; the figure is drawn, and its lines are as it says."""
    diameters = np.array([3.5, 4.9, 7.7, 12.6, 19.6, 29.4])
    nodules = [nodule(float(diameter_mm), (512, 512)) for diameter_mm in diameters]
    maps = [displaced(to, 0.4) for to in nodules]
    lines = {
        name: (diameters, np.array([RULES[name](one, to).normalised for one, to in zip(maps, nodules, strict=True)]))
        for name in registry.UNASKED_RULES
        if name != "energy-elsewhere"
    }
    bound = {name: line for name, line in lines.items() if name in registry.SIZE_BOUND_RULES}
    free = {name: line for name, line in lines.items() if name not in bound}
    rules_over_size(tmp_path / "size", {"Free of size": free, "Bound to size": bound}, displaced=0.4)
    assert (tmp_path / "size.png").stat().st_size > 10_000
    steady = {name: float(np.ptp(score[1:])) for name, (_, score) in free.items()}  # from 7 pixels on
    assert max(steady.values()) < 0.1, steady


def test_the_rules_bound_to_size_are_bound_to_size() -> None:
    """A map one or two diameters away from nodules of 4 and of 30 mm."""
    nodules = [nodule(diameter_mm, (512, 512)) for diameter_mm in (4.2, 29.4)]
    for name in registry.SIZE_BOUND_RULES:
        found = [[RULES[name](displaced(to, far), to).normalised for to in nodules] for far in (0.75, 2.0)]
        assert max(abs(small - large) for small, large in found) > 0.1, name
