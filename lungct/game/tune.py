"""The threshold of ``iou-validated``: per method the one of best mean IoU on other data, never on the data scored.

Source: Choe 2020, Evaluating weakly supervised object localization methods right: hyperparameters on held-out data.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from pathlib import Path

import numpy as np

from lungct.explain.matching import matched
from lungct.game.maps import map_files, read_maps
from lungct.game.options import GameOptions
from lungct.game.play import Game, Page, missed_in
from lungct.game.rules.iou import iou_curve
from lungct.game.saliency import Saliency
from lungct.game.statistics import mean_over_patients, patient_means
from lungct.game.target import Target
from lungct.io.coco import read_truth
from lungct.types import Detections, FloatArray, Progress, no_progress

THRESHOLDS = np.linspace(0.01, 1.0, 100)


def tuned_thresholds(
    heatmaps: Path, truth_path: Path, options: GameOptions, progress: Progress = no_progress
) -> dict[str, float]:
    """Method -> threshold, from the true positives of another split; controls that are scored beside the maps, too.

    Raises:
        InputError: maps and truth that cannot be read or do not fit each other, or no true positive among them.
    """
    truth = read_truth(truth_path)
    files = map_files(heatmaps, truth)
    game = Game.of(truth, dataclasses.replace(options, faithfulness=None), files)
    curves: dict[str, list[FloatArray]] = defaultdict(list)
    patients: dict[str, list[str]] = defaultdict(list)
    images = [image for image in truth.images if image.id in files]
    for number, image in enumerate(images, 1):
        page = Page(game, image)
        for one in files[image.id]:
            maps = read_maps(one, truth, image)
            detections = Detections(image.id, maps.boxes_xyxy_px, maps.scores, maps.labels)
            missed = missed_in(maps)
            for place, annotation in enumerate(matched(truth, image, detections)):
                if annotation is not None and not missed[place] and np.isfinite(maps.heatmaps[place]).all():
                    page.hit(place, detections, missed, annotation)
                    target = page.target(annotation)
                    curves[one.method].append(_iou_at(page.ranked(one.method, maps.heatmaps[place], target), target))
                    patients[one.method].append(image.patient_id)
        for name, _, target, heatmap in page.maps_beside():
            curves[name].append(_iou_at(page.ranked(name, heatmap, target), target))
            patients[name].append(image.patient_id)
        progress("maps tuned on", number, len(images))
    return {method: _best(np.array(found), patients[method]) for method, found in sorted(curves.items())}


def _iou_at(saliency: Saliency, target: Target) -> FloatArray:
    """(T,) IoU at each threshold."""
    curve = iou_curve(saliency, target)
    levels = np.searchsorted(-saliency.scaled, -THRESHOLDS, side="right")
    found: FloatArray = curve[np.maximum(levels, 1) - 1]
    return found


def _best(iou: FloatArray, patients: list[str]) -> float:
    return round(float(THRESHOLDS[np.argmax(mean_over_patients(patient_means(iou, patients)))]), 4)
