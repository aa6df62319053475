"""Take every measure of faithfulness of one image's maps, and keep count of what they cost."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lungct.data.reader import SliceReader
from lungct.explain.base import Subject
from lungct.explain.network import Network
from lungct.explain.targets import open_image
from lungct.game.faithfulness.asked import Asked
from lungct.game.faithfulness.base import Case, Heats, Measure, Settings, load_measures
from lungct.game.faithfulness.curves import counts_of
from lungct.game.faithfulness.options import FaithOptions
from lungct.game.faithfulness.spent import Cost, Spent
from lungct.io.coco import CocoImage, CocoTruth
from lungct.models.device import use_threads
from lungct.models.load import load_model
from lungct.models.preprocess import check_serves
from lungct.types import FloatArray

POINTS = np.linspace(0, 1, 21)
OPENING = "opening"
MAKE_AGAIN = (".sanity", ".sensitivity")
"""Modules of the measures that make maps again, all of an image at once."""


@dataclass(eq=False)
class Judge:
    """A model opened for the measures, and what they cost so far."""

    network: Network
    truth: CocoTruth
    options: FaithOptions
    settings: Settings
    measures: Sequence[Measure]
    spent: Spent = field(default_factory=Spent)

    @classmethod
    def of(cls, truth: CocoTruth, options: FaithOptions, seed: int) -> Judge:
        """Load the model.

        Raises:
            InputError: no model there, or none that can be read.
        """
        use_threads(options.threads)
        model = load_model(options.run, options.device)
        settings = Settings(options.played, options.steps, options.draws, seed)
        return cls(Network(model), truth, options, settings, load_measures(options.played))

    def judge(self, image: CocoImage, asked: Sequence[Asked]) -> list[tuple[dict[str, float], dict[str, FloatArray]]]:
        """For each map its measures, NaN where there is none, and its curves at ``POINTS``.

        A map of several detections together has none: no one score is what it explains.

        Raises:
            InputError: a slice that the model was not made for, or that cannot be read.
        """
        if not self.options.override:
            check_serves(image.lungct, self.network.model.card, name=image.file_name)
        image_hu = SliceReader(self.truth, cache_bytes=0)(image)
        subjects: dict[bytes, Subject] = {}
        made: dict[tuple[bytes, str], dict[Hashable, Heats]] = {}
        found: list[tuple[dict[str, float], dict[str, FloatArray]]] = []
        for one in asked:
            if one.made.per != "detection":
                found.append((dict.fromkeys(self.settings.names, float("nan")), {}))
                continue
            key = _bytes_of(one)
            if key not in subjects:
                with self.spent.on(OPENING, "", 1):
                    subjects[key] = self._opened(image, image_hu, one)
            found.append(self._judge_one(subjects[key], one, made.setdefault((key, one.method), {})))
        return found

    def _opened(self, image: CocoImage, image_hu: NDArray[np.int16], one: Asked) -> Subject:
        return open_image(
            self.network,
            image_hu,
            one.detections,
            scorer=self.options.scorer,
            missed=one.missed,
            spacing_mm_xy=image.spacing_mm_xy,
            name=image.file_name,
        )

    def _judge_one(
        self, subject: Subject, one: Asked, made: dict[Hashable, Heats]
    ) -> tuple[dict[str, float], dict[str, FloatArray]]:
        case = Case(
            self.network, subject, one.missed, one.number, one.heatmap, one.method, one.made, self.settings, made
        )
        values: dict[str, float] = {}
        fresh = not made
        for measure in self.measures:
            with self.spent.on(measure.__module__, one.method, self._units(measure, [case.area_px], fresh=fresh)):
                values.update(measure(case))
        wanted = {name: value for name, value in values.items() if name in self.settings.names}
        return wanted, {name: np.interp(POINTS, curve[:, 0], curve[:, 1]) for name, curve in case.curves.items()}

    def _units(self, measure: Measure, areas_px: Sequence[int], *, fresh: bool = True) -> int:
        """What the cost of a measure grows with, for the maps of one method on one image.

        The points of the curves; one for all where maps are made again, unless they were before; else one a map.
        """
        if measure.__module__.endswith(".curves"):
            return sum(len(counts_of(area, self.settings.steps)) for area in areas_px)
        return int(fresh) if measure.__module__.endswith(MAKE_AGAIN) else len(areas_px)

    def estimate(self, areas_px: Mapping[str, Sequence[Sequence[int]]], images: int) -> Cost:
        """What so many images will take, by what was spent so far.

        Args:
            areas_px: by method, and there by image, the areas of the detections that there is a map of.
        """
        total = images * self.spent.rate(OPENING, "")
        for measure in self.measures:
            for method, of_images in areas_px.items():
                units = sum(self._units(measure, areas) for areas in of_images)
                total = total + units * self.spent.rate(measure.__module__, method)
        return Cost(*map(float, total))


def _bytes_of(one: Asked) -> bytes:
    """What an opened network depends on: methods that explain the same detections share one."""
    found = one.detections
    arrays = (found.boxes_xyxy_px, found.scores, found.labels, one.missed)
    return b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
