"""The figures of a game: what of its rows goes into each, and the page of the best and worst maps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lungct import registry
from lungct.game.averages import patient_spread
from lungct.game.maps import MapFile, read_maps
from lungct.game.play import Game, middle_slice
from lungct.game.row import Curve, Row
from lungct.game.statistics import mean_over_patients, patient_means
from lungct.report import game_figures
from lungct.report.figure import game_bars
from lungct.report.map_page import Tile, map_page
from lungct.types import FloatArray

SHOWN = 2
MOST_PANELS = 7
"""Rules that a figure shows; the others are in the tables."""
DRAWN = (
    "insertion-deletion",
    "adaptive",
    "auprc",
    "energy",
    "proximity",
    "iou-otsu",
    "pointing",
    "fixed",
    "inverse-distance",
    "relevance-rank",
    "road",
    "deletion",
    "insertion",
)
"""What is drawn first."""
PREFERRED = ("adaptive", "relevance-rank", "auprc", "proximity", "pointing")
"""Rules by which best and worst maps are told, and which are shown over size: the first that was played."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """What the figures are drawn from."""

    game: Game
    files: Mapping[int | str, Sequence[MapFile]]
    rows: Sequence[Row]
    curves: Sequence[Curve]
    summary: Mapping[str, Any]

    @property
    def found(self) -> list[Row]:
        """The rows of true positives."""
        return [row for row in self.rows if row.stratum == "TP"]

    @property
    def rule(self) -> str | None:
        """The rule that single maps are judged by."""
        return next((name for name in PREFERRED if name in self.game.rules), None)


def draw_game(folder: Path, pictures: Pictures) -> None:
    """Write every figure that there is something for."""
    shares = _drawn({row["rule"] for row in pictures.summary["rows"]} & set(registry.RULES) - {"error-mm"})
    game_bars(folder / "game", [row for row in pictures.summary["rows"] if row["rule"] in shares])
    tests = {one["rule"]: one for one in pictures.summary["friedman"]}
    if tests:
        game_figures.critical_difference(folder / "critical_difference", [tests[rule] for rule in _drawn(set(tests))])
    spread = patient_spread([row for row in pictures.found if row.rule in shares])
    if spread:
        game_figures.score_boxes(folder / "boxes", spread)
    _over_size(folder / "sizes", pictures)
    if pictures.curves:
        game_figures.faithfulness_curves(folder / "curves", _mean_curves(pictures.curves))
    tiles = _tiles(pictures)
    if tiles:
        map_page(folder / "maps.png", tiles, title=f"Best and worst maps by {pictures.rule}")


def _drawn(rules: set[str]) -> list[str]:
    """Those of the rules that a figure shows, in the tables' order."""
    first = [rule for rule in (*DRAWN, *registry.EVERY_MEASURE) if rule in rules]
    kept = list(dict.fromkeys(first))[:MOST_PANELS]
    return [rule for rule in registry.EVERY_MEASURE if rule in kept]


def _over_size(path_stem: Path, pictures: Pictures) -> None:
    points: dict[str, tuple[FloatArray, FloatArray]] = {}
    mine = [
        row
        for row in pictures.found
        if row.rule == pictures.rule and np.isfinite(row.normalised) and np.isfinite(row.diameter_mm)
    ]
    for name in dict.fromkeys(row.method for row in mine):
        if name in ("uniform", "constant", registry.UPPER_BOUND):
            continue
        values = np.array([(row.diameter_mm, row.normalised) for row in mine if row.method == name])
        points[name] = (values[:, 0], values[:, 1])
    if points and pictures.rule is not None:
        game_figures.scores_over_size(path_stem, points, rule=pictures.rule, edges_mm=registry.SIZE_EDGES_MM)


def _mean_curves(curves: Sequence[Curve]) -> dict[str, dict[str, FloatArray]]:
    """Kind -> method -> (21,) means over patients of the true positives, or of all where there is none."""
    found = [one for one in curves if one.stratum == "TP"] or list(curves)
    grouped: dict[str, dict[str, list[Curve]]] = defaultdict(lambda: defaultdict(list))
    beside = (*registry.CONTROLS, registry.UPPER_BOUND)
    for one in sorted(found, key=lambda one: beside.index(one.method) if one.method in beside else -1):
        grouped[one.kind][one.method].append(one)
    return {
        kind: {
            method: mean_over_patients(
                patient_means(np.array([one.scores for one in mine]), [one.patient_id for one in mine])
            )
            for method, mine in of_method.items()
        }
        for kind, of_method in grouped.items()
    }


def _tiles(pictures: Pictures) -> list[list[Tile]]:
    """A row of tiles per method: its best and its worst maps."""
    sheet = []
    for name in dict.fromkeys(row.method for row in pictures.found):
        if name in (*registry.CONTROLS, registry.UPPER_BOUND):
            continue
        mine = [row for row in pictures.found if row.method == name and row.rule == pictures.rule]
        mine = sorted((row for row in mine if np.isfinite(row.normalised)), key=lambda row: -row.normalised)
        count = min(SHOWN, len(mine) // 2) or len(mine)
        chosen = mine[:count] + (mine[-count:] if len(mine) > 1 else [])
        if chosen:
            sheet.append(
                [_tile(pictures, row, "best" if place < count else "worst") for place, row in enumerate(chosen)]
            )
    return sheet


def _tile(pictures: Pictures, row: Row, which: str) -> Tile:
    game = pictures.game
    image = next(one for one in game.truth.images if one.id == row.image_id)
    file = next(one for one in pictures.files[image.id] if one.method == row.method)
    maps = read_maps(file, game.truth, image, game.detections.get(image.id))
    heatmap = maps.heatmaps[row.detection].astype(np.float32)
    low, high = float(heatmap.min()), float(heatmap.max())
    return Tile(
        image_hu=middle_slice(game.truth, image),
        heatmap=(heatmap - low) / (high - low) if high > low else np.zeros_like(heatmap),
        box_xyxy_px=maps.boxes_xyxy_px[row.detection],
        true_boxes_xyxy_px=game.truth.boxes_of(image.id),
        spacing_mm_xy=image.spacing_mm_xy,
        words=f"{row.method}, {which}: {row.normalised:z.2f}",
    )
