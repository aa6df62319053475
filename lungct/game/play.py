"""Score every map of a folder against the true boxes, and the controls on the same detections beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungct import registry
from lungct.errors import InputError
from lungct.explain.controls import control_map
from lungct.explain.matching import matched
from lungct.game.rules import RULES, Rule, Score, Target
from lungct.io.atomic import MANIFEST
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth
from lungct.io.npz import read_heatmaps, read_slice
from lungct.types import Detections, FloatArray, Heatmaps, Progress, no_progress

OK = "ok"
FAILED = "failed"
NO_TRUE_BOX = "false positive: no true box"
NOTHING = Score(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class Row:
    """One map under one rule; the columns of ``scores.csv``."""

    patient_id: str
    case_id: str
    image_id: int | str
    detection: int
    annotation_id: int | str
    stratum: str
    method: str
    rule: str
    value: float
    chance: float
    ceiling: float
    normalised: float
    status: str


@dataclass(eq=False)
class _Hits:
    """The true positives of one image: annotation id -> (detection number, predicted box, annotation)."""

    image: CocoImage
    found: dict[int | str, tuple[int, FloatArray, CocoAnnotation]] = field(default_factory=dict)
    targets: dict[int | str, Target] = field(default_factory=dict)


def play(
    heatmaps: Path, truth: CocoTruth, *, version: str, controls: bool, seed: int, progress: Progress = no_progress
) -> tuple[list[Row], tuple[str, ...]]:
    """Every row of the game, sorted, and the controls that were left out for want of an image.

    Raises:
        InputError: no map there, a map that does not fit its image, an image the truth does not hold, a method twice on
            one image.
    """
    rules = RULES[version]
    images = {str(image.id): image for image in truth.images}
    hits: dict[str, _Hits] = {}
    rows: list[Row] = []
    seen: dict[tuple[str, str], Path] = {}
    paths = map_files(heatmaps)
    for number, path in enumerate(paths, 1):
        maps = read_heatmaps(path, truth.categories)
        image = _image_of(maps, images, path)
        twin = seen.setdefault((maps.method, str(image.id)), path)
        if twin != path:
            raise InputError.of(path, f"{maps.method} has maps of image {image.id} in {twin} too")
        here = hits.setdefault(str(image.id), _Hits(image))
        rows += _rows_of(maps, truth, here, rules, version)
        here.targets.clear()
        progress("maps scored", number, len(paths))
    wanted = [name for name in registry.CONTROLS if controls and name not in {method for method, _ in seen}]
    left_out: set[str] = set()
    for here in hits.values():
        rows += _control_rows(here, truth, wanted, rules, seed, left_out)
    return sorted(rows, key=_order), tuple(sorted(left_out))


def map_files(heatmaps: Path) -> list[Path]:
    """Every NPZ below a folder, or the one file named; none where an explanation run found nothing to explain.

    What lies in a hidden folder, as an unfinished run leaves behind, is not read.

    Raises:
        InputError: there is none, nor the manifest of such a run.
    """
    found = [heatmaps] if heatmaps.is_file() else _visible(heatmaps, "*.npz")
    if not found and not _visible(heatmaps, MANIFEST):
        raise InputError.of(heatmaps, "no heatmap (*.npz) in it", "make some with lungct explain")
    return found


def _visible(folder: Path, pattern: str) -> list[Path]:
    below = sorted(folder.rglob(pattern))
    return [path for path in below if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def _image_of(maps: Heatmaps, images: Mapping[str, CocoImage], path: Path) -> CocoImage:
    image = images.get(str(maps.image_id))
    if image is None:
        raise InputError.of(path, f"is of image {maps.image_id!r}, which the truth does not hold")
    if maps.heatmaps.shape[1:] != (image.height, image.width):
        height, width = maps.heatmaps.shape[1:]
        raise InputError.of(path, f"maps are {width} x {height} pixels, the image {image.width} x {image.height}")
    return image


def _rows_of(maps: Heatmaps, truth: CocoTruth, here: _Hits, rules: Mapping[str, Rule], version: str) -> Iterator[Row]:
    detections = Detections(here.image.id, maps.boxes_xyxy_px, maps.scores, maps.labels)
    for number, annotation in enumerate(matched(truth, here.image, detections)):
        heatmap = maps.heatmaps[number].astype(np.float32)
        problem = _problem(heatmap, maps, number, version)
        if annotation is not None:
            here.found.setdefault(annotation.id, (number, maps.boxes_xyxy_px[number], annotation))
        for name, rule in rules.items():
            if annotation is None:
                score, status = NOTHING, NO_TRUE_BOX
            elif problem:
                score, status = NOTHING, f"{FAILED}: {problem}"
                if version == "thesis":
                    level = rule(np.zeros_like(heatmap), _target(here, truth, annotation))
                    score = replace(level, value=0.0)
            else:
                score, status = rule(heatmap, _target(here, truth, annotation)), OK
            yield _row(here.image, number, annotation, maps.method, name, score, status)


def _problem(heatmap: FloatArray, maps: Heatmaps, number: int, version: str) -> str:
    """Why a map cannot be scored; the constant control is constant on purpose, and the thesis scored constant maps."""
    if not np.isfinite(heatmap).all():
        return "not finite"
    if maps.method in registry.CONTROLS or version == "thesis":
        return ""
    flag = maps.flags[number] if maps.flags else ""
    return f"{flag} map" if flag else "constant map" if heatmap.min() == heatmap.max() else ""


def _target(here: _Hits, truth: CocoTruth, annotation: CocoAnnotation) -> Target:
    """The target of an annotation, kept while its image's maps are scored."""
    if annotation.id not in here.targets:
        shape = (here.image.height, here.image.width)
        here.targets[annotation.id] = Target(shape, np.asarray(annotation.box_xyxy_px), truth.boxes_of(here.image.id))
    return here.targets[annotation.id]


def _control_rows(
    here: _Hits, truth: CocoTruth, names: Sequence[str], rules: Mapping[str, Rule], seed: int, left_out: set[str]
) -> Iterator[Row]:
    image_hu = _middle_slice(truth.root / here.image.file_name) if "edges" in names and here.found else None
    for number, box, annotation in here.found.values():
        target = _target(here, truth, annotation)
        for name in names:
            if name == "edges" and image_hu is None:
                left_out.add(name)
                continue
            canvas = np.zeros(target.shape_yx, np.int16) if image_hu is None else image_hu
            heatmap = control_map(name, canvas, box, image_id=here.image.id, seed=seed)
            for rule_name, rule in rules.items():
                yield _row(here.image, number, annotation, name, rule_name, rule(heatmap, target), OK)
    here.targets.clear()


def _middle_slice(path: Path) -> NDArray[np.int16] | None:
    if path.suffix != ".npz" or not path.is_file():
        return None
    stack = read_slice(path)
    middle: NDArray[np.int16] = stack[len(stack) // 2]
    return middle


def _row(
    image: CocoImage,
    number: int,
    annotation: CocoAnnotation | None,
    method: str,
    rule: str,
    score: Score,
    status: str,
) -> Row:
    return Row(
        patient_id=image.patient_id,
        case_id=image.case_id,
        image_id=image.id,
        detection=number,
        annotation_id=-1 if annotation is None else annotation.id,
        stratum="FP" if annotation is None else "TP",
        method=method,
        rule=rule,
        value=score.value,
        chance=score.chance,
        ceiling=score.ceiling,
        normalised=score.normalised,
        status=status,
    )


def _order(row: Row) -> tuple[int, str, int, str, int]:
    control = registry.CONTROLS.index(row.method) + 1 if row.method in registry.CONTROLS else 0
    return control, row.method, list(registry.RULES).index(row.rule), str(row.image_id).zfill(12), row.detection
