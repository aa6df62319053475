"""How long the measures of faithfulness will take, from a few images of the run itself that are judged first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lungct.game.maps import MapFile, read_maps
from lungct.io.coco import CocoImage

if TYPE_CHECKING:
    from lungct.game.parts import Parts
    from lungct.game.play import Game

SAMPLE = 3


def sample_of(images: Sequence[CocoImage]) -> tuple[list[CocoImage], list[CocoImage]]:
    """A few images, evenly spaced, and all others."""
    count = min(SAMPLE, len(images))
    chosen = {(2 * place + 1) * len(images) // (2 * count) for place in range(count)}
    parts: tuple[list[CocoImage], list[CocoImage]] = ([], [])
    for place, image in enumerate(images):
        parts[place not in chosen].append(image)
    return parts


def estimate(
    game: Game, images: Sequence[CocoImage], files: Mapping[int | str, Sequence[MapFile]], parts: Parts | None = None
) -> float:
    """Seconds that these images will take, by what was judged so far; those that have their part take none.

    The controls and the true mask count as many maps as the first method, an upper bound where it has false positives.
    """
    areas: dict[str, list[int]] = defaultdict(list)
    for image in images:
        if parts is not None and parts.has(image.id):
            continue
        for number, one in enumerate(files[image.id]):
            boxes = read_maps(one, game.truth, image, game.detections.get(image.id)).boxes_xyxy_px
            sizes = [max(1, round(float((x2 - x1) * (y2 - y1)))) for x1, y1, x2, y2 in boxes]
            areas[one.method] += sizes
            for name in game.beside if number == 0 else ():
                areas[name] += sizes
    return 0.0 if game.judge is None else game.judge.estimate(areas)


def rehearsed(game: Game, images: Sequence[CocoImage], files: Mapping[int | str, Sequence[MapFile]]) -> float:
    """Seconds that a whole run takes, from judging the sample and keeping nothing."""
    for image in sample_of(images)[0]:
        game.rows_of(image, files[image.id])
    return estimate(game, images, files)


def said(seconds: float) -> str:
    """Seconds in words."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
