"""What the measures of faithfulness will take, from a few images of the run itself that are judged first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lungct.game.faithfulness.spent import Cost
from lungct.game.maps import MapFile, read_maps
from lungct.io.coco import CocoImage

if TYPE_CHECKING:
    from lungct.game.parts import Parts
    from lungct.game.play import Game

SAMPLE = 3


def sample_of(images: Sequence[CocoImage]) -> tuple[list[CocoImage], list[CocoImage]]:
    """A few images, evenly spaced, and all others; the first of the few only warms up."""
    count = min(SAMPLE, (len(images) + 1) // 2)
    chosen = {(2 * place + 1) * len(images) // (2 * count) for place in range(count)}
    parts: tuple[list[CocoImage], list[CocoImage]] = ([], [])
    for place, image in enumerate(images):
        parts[place not in chosen].append(image)
    return parts


def estimate(
    game: Game, images: Sequence[CocoImage], files: Mapping[int | str, Sequence[MapFile]], parts: Parts | None = None
) -> Cost:
    """What judging these images will take, by what was judged so far; those that have their part take nothing.

    The controls and the true mask count as many maps as the first method, an upper bound where it has false positives.
    """
    areas: dict[str, list[list[int]]] = defaultdict(list)
    images = [image for image in images if parts is None or not parts.has(image.id)]
    for image in images:
        for number, one in enumerate(files[image.id]):
            boxes = read_maps(one, game.truth, image, game.detections.get(image.id)).boxes_xyxy_px
            sizes = [max(1, round(float((x2 - x1) * (y2 - y1)))) for x1, y1, x2, y2 in boxes]
            areas[one.method].append(sizes)
            for name in game.beside if number == 0 else ():
                areas[name].append(sizes)
    return Cost(0.0, 0.0) if game.judge is None else game.judge.estimate(areas, len(images))


def rehearsed(game: Game, images: Sequence[CocoImage], files: Mapping[int | str, Sequence[MapFile]]) -> Cost:
    """What a whole run takes, from judging the sample and keeping nothing."""
    sample = sample_of(images)[0]
    for number, image in enumerate(sample):
        game.rows_of(image, files[image.id])
        if game.judge is not None and number == 0 and len(sample) > 1:
            game.judge.spent.forget()
    return estimate(game, images, files)
