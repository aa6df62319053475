"""Take every measure of faithfulness of one image's maps, and keep count of what they cost."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lungct.data.reader import SliceReader
from lungct.explain.base import Subject
from lungct.explain.network import Network
from lungct.explain.targets import open_image
from lungct.game.faithfulness.asked import Asked
from lungct.game.faithfulness.base import Case, Measure, Settings, load_measures
from lungct.game.faithfulness.curves import counts_of
from lungct.game.faithfulness.options import FaithOptions
from lungct.io.coco import CocoImage, CocoTruth
from lungct.models.device import use_threads
from lungct.models.load import load_model
from lungct.models.preprocess import check_serves
from lungct.types import FloatArray

POINTS = np.linspace(0, 1, 21)


@dataclass(eq=False)
class Judge:
    """A model opened for the measures, and the seconds that each took so far, by measure and method."""

    network: Network
    truth: CocoTruth
    options: FaithOptions
    settings: Settings
    measures: Sequence[Measure]
    seconds: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    units: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))

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
        subjects: dict[int, Subject] = {}
        found: list[tuple[dict[str, float], dict[str, FloatArray]]] = []
        for one in asked:
            if one.made.per != "detection":
                found.append((dict.fromkeys(self.settings.names, float("nan")), {}))
                continue
            key = id(one.detections)
            if key not in subjects:
                subjects[key] = open_image(
                    self.network,
                    image_hu,
                    one.detections,
                    scorer=self.options.scorer,
                    missed=one.missed,
                    spacing_mm_xy=image.spacing_mm_xy,
                    name=image.file_name,
                )
            found.append(self._judge_one(subjects[key], one))
        return found

    def _judge_one(self, subject: Subject, one: Asked) -> tuple[dict[str, float], dict[str, FloatArray]]:
        case = Case(self.network, subject, one.missed, one.number, one.heatmap, one.method, one.made, self.settings)
        values: dict[str, float] = {}
        for measure in self.measures:
            start = time.perf_counter()
            values.update(measure(case))
            self.seconds[measure.__module__, one.method] += time.perf_counter() - start
            self.units[measure.__module__, one.method] += self._units(measure, case.area_px)
        wanted = {name: value for name, value in values.items() if name in self.settings.names}
        return wanted, {name: np.interp(POINTS, curve[:, 0], curve[:, 1]) for name, curve in case.curves.items()}

    def _units(self, measure: Measure, area_px: int) -> int:
        """What the cost of a measure grows with: the points of the curves, else one a map."""
        of_curves = measure.__module__.endswith(".curves")
        return len(counts_of(area_px, self.settings.steps)) if of_curves else 1

    def estimate(self, areas_px: Mapping[str, Sequence[int]]) -> float:
        """Seconds that maps of detections of these areas take, by method, going by what was measured so far.

        A method that was not met costs what the dearest did.
        """
        total = 0.0
        for measure in self.measures:
            name = measure.__module__
            rates = {
                method: self.seconds[key, method] / self.units[key, method]
                for key, method in list(self.units)
                if key == name and self.units[key, method]
            }
            for method, areas in areas_px.items():
                rate = rates.get(method, max(rates.values(), default=0.0))
                total += rate * sum(self._units(measure, area) for area in areas)
        return total
