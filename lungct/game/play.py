"""Score every map of an image against its true nodules, and the controls and the true mask beside them."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lungct import registry
from lungct.explain.base import MethodOptions
from lungct.explain.controls import control_map
from lungct.explain.matching import matched, on_crowd
from lungct.game.faithfulness.asked import Asked, Making, making_of
from lungct.game.maps import MapFile, read_maps
from lungct.game.masks import crowd_of, masks_of
from lungct.game.options import GameOptions
from lungct.game.row import FAILED, OK, Curve, Row
from lungct.game.rules.base import NAN, Rule, Score, load_rules
from lungct.game.saliency import Saliency
from lungct.game.target import Target
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth, read_detections
from lungct.io.npz import read_slice
from lungct.types import BoolArray, Detections, FloatArray, Heatmaps

if TYPE_CHECKING:
    from lungct.game.faithfulness.judge import Judge

logger = logging.getLogger("lungct")
NOTHING = Score(float("nan"), float("nan"), float("nan"))
LEAST_HALF = 2.0**-24
"""The smallest float16 above 0."""
UNJUDGED = "not of one detection by lungct explain, or no score"


@dataclass(frozen=True, eq=False)
class Game:
    """The truth and the rules of one game, and which controls the folder of maps does not hold itself.

    Attributes:
        detections: image id -> what maps without boxes are of.
        made: methods that the folder has maps of.
        judge: takes the measures that need the model; None leaves them out.
        warned: methods whose values were said to be outside 0..1.
    """

    truth: CocoTruth
    options: GameOptions
    made: frozenset[str]
    detections: Mapping[int | str, Detections] = field(default_factory=dict)
    judge: Judge | None = None
    warned: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, truth: CocoTruth, options: GameOptions, files: Mapping[Any, Sequence[MapFile]]) -> Game:
        """The game over these files.

        Raises:
            InputError: detections that cannot be read or do not fit the truth.
        """
        given = (
            {} if options.detections is None else {d.image_id: d for d in read_detections(options.detections, truth)}
        )
        made = frozenset(one.method for mine in files.values() for one in mine)
        faith = options.faithfulness
        if faith is None:
            return cls(truth, options, made, given)
        from lungct.game.faithfulness.judge import Judge  # loads torch, which the maps alone do not need

        return cls(truth, options, made, given, Judge.of(truth, faith, options.seed))

    @cached_property
    def rules(self) -> dict[str, Rule]:
        """Name -> rule."""
        return load_rules(self.options.played, self.options.rules)

    @property
    def beside(self) -> tuple[str, ...]:
        """The controls and the upper bound that are scored beside the maps."""
        wanted = (*registry.CONTROLS, registry.UPPER_BOUND) if self.options.controls else ()
        return tuple(name for name in wanted if name not in self.made)

    def rows_of(self, image: CocoImage, files: Sequence[MapFile]) -> tuple[list[Row], list[Curve]]:
        """Every row and every curve of one image.

        Raises:
            InputError: maps or masks that cannot be read or do not fit the image.
        """
        page = Page(self, image)
        rows: list[Row] = []
        for one in files:
            maps = read_maps(one, self.truth, image, self.detections.get(image.id))
            if not one.bare:
                self.warn_of_range(one, maps)
            rows += page.rows_of(maps)
        rows += page.rows_beside()
        return (rows, []) if self.judge is None else _judged(self.judge, image, rows, page.asked)

    def warn_of_range(self, one: MapFile, maps: Heatmaps) -> None:
        """Say once a method how values below 0 or above 1 are taken."""
        low, high = (float(end(maps.heatmaps, initial=0.0)) for end in (np.nanmin, np.nanmax))
        if (low >= 0 and high <= 1) or one.method in self.warned:
            return
        self.warned.add(one.method)
        logger.warning(
            "%s: maps from %.3g to %.3g, expected 0 to 1; only the order of the pixels and their shares count, "
            "and the rules of energy take what is below 0 as 0",
            one.first,
            low,
            high,
        )


@dataclass(frozen=True, eq=False)
class Hit:
    """A true positive: which of which detections it is, what it found, and which of them are missed boxes."""

    number: int
    detections: Detections
    missed: BoolArray
    annotation: CocoAnnotation


@dataclass(eq=False)
class Page:
    """One image while it is scored.

    Attributes:
        hits: annotation id -> the first map of a true positive.
        targets: annotation id -> its target.
        asked: what is to be judged by the model, with the columns that its rows share.
        found: detections -> their outcomes.
    """

    game: Game
    image: CocoImage
    hits: dict[int | str, Hit] = field(default_factory=dict)
    targets: dict[int | str, Target] = field(default_factory=dict)
    asked: list[tuple[Row, Asked]] = field(default_factory=list)
    found: dict[tuple[bytes, ...], tuple[list[CocoAnnotation | None], BoolArray]] = field(default_factory=dict)

    @cached_property
    def boxes_xyxy_px(self) -> FloatArray:
        """(N, 4) the true boxes; crowd regions are none."""
        truths = [one.box_xyxy_px for one in self.game.truth.annotations_of[self.image.id] if not one.iscrowd]
        return np.asarray(truths, dtype=np.float64).reshape(-1, 4)

    @cached_property
    def ignored(self) -> BoolArray | None:
        """(Y, X) pixels of crowd regions, None without any."""
        return crowd_of(self.game.truth, self.image)

    @cached_property
    def masks(self) -> list[BoolArray]:
        options = self.game.options
        return masks_of(self.game.truth, self.image, options.masks) if options.shape == "mask" else []

    def target(self, annotation: CocoAnnotation) -> Target:
        """The target of a true box, kept for the image's other maps."""
        if annotation.id not in self.targets:
            box = np.asarray(annotation.box_xyxy_px)
            self.targets[annotation.id] = Target(
                (self.image.height, self.image.width),
                box,
                self.boxes_xyxy_px,
                self.game.options.shape,
                self.masks,
                self.image.spacing_mm_xy,
                self.ignored,
            )
        return self.targets[annotation.id]

    def own_target(self, box_xyxy_px: FloatArray) -> Target:
        """What a false positive is scored against: the box that it drew itself, which has no mask."""
        shape = "box" if self.game.options.shape == "box" else "ellipse"
        box = np.asarray(box_xyxy_px, dtype=np.float64)
        size = (self.image.height, self.image.width)
        return Target(size, box, box[None], shape, (), self.image.spacing_mm_xy, self.ignored)

    def ranked(self, method: str, heatmap: FloatArray, target: Target) -> Saliency:
        """The map as the rules read it, without the pixels that the target ignores."""
        return Saliency(heatmap, self.game.options.thresholds.get(method), target.counted)

    def rows_of(self, maps: Heatmaps) -> Iterator[Row]:
        detections = Detections(self.image.id, maps.boxes_xyxy_px, maps.scores, maps.labels)
        missed = missed_in(maps)
        found, neither = self.outcomes(detections)
        for number, annotation in enumerate(found):
            if neither[number]:
                continue
            box, score = maps.boxes_xyxy_px[number], float(maps.scores[number])
            if annotation is not None and not missed[number]:
                self.hit(number, detections, missed, annotation)
            target = self.own_target(box) if annotation is None else self.target(annotation)
            heatmap = maps.heatmaps[number]
            saliency = self.ranked(maps.method, heatmap, target)
            problem = _problem(saliency, maps, number, self.game.options.rules)
            stratum = "FP" if annotation is None else "FN" if missed[number] else "TP"
            base = _base(self.image, target, number, annotation, score, stratum, maps.method)
            if self.game.judge is not None and not problem:
                made = making_of(maps.provenance)
                self.asked.append((base, Asked(maps.method, detections, missed, number, heatmap, made)))
            for name, rule in self.game.rules.items():
                yield _scored(base, name, self._score(rule, saliency, target, problem), problem)

    def outcomes(self, detections: Detections) -> tuple[list[CocoAnnotation | None], BoolArray]:
        """What each detection has found, and which lie on a crowd; methods of the same detections share it."""
        key = tuple(one.tobytes() for one in (detections.boxes_xyxy_px, detections.scores, detections.labels))
        if key not in self.found:
            of = (self.game.truth, self.image, detections)
            self.found[key] = matched(*of), on_crowd(*of)
        return self.found[key]

    def _score(self, rule: Rule, saliency: Saliency, target: Target, problem: str) -> Score:
        if not problem:
            return rule(saliency, target)
        if self.game.options.rules == "thesis":  # which counted a map that failed as 0
            nothing = np.zeros(target.shape_yx, np.float16)
            return replace(rule(Saliency(nothing, counted=target.counted), target), value=0.0)
        return NOTHING

    def hit(self, number: int, detections: Detections, missed: BoolArray, annotation: CocoAnnotation) -> None:
        """Remember a true positive, for what is scored beside the maps."""
        self.hits.setdefault(annotation.id, Hit(number, detections, missed, annotation))

    def rows_beside(self) -> Iterator[Row]:
        """The controls and the true mask, on the true positives."""
        for name, hit, target, heatmap in self.maps_beside():
            saliency = self.ranked(name, heatmap, target)
            score = float(hit.detections.scores[hit.number])
            base = _base(self.image, target, hit.number, hit.annotation, score, "TP", name)
            if self.game.judge is not None:
                made = Making(MethodOptions(seed=self.game.options.seed))
                asked = Asked(name, hit.detections, hit.missed, hit.number, heatmap, made)
                self.asked.append((base, asked))
            for rule_name, rule in self.game.rules.items():
                yield _scored(base, rule_name, rule(saliency, target), "")

    def maps_beside(self) -> Iterator[tuple[str, Hit, Target, FloatArray]]:
        """Name, detection, target and (Y, X) map of each control and of the true mask, for each true positive."""
        names = self.game.beside
        image_hu = middle_slice(self.game.truth, self.image) if "edges" in names and self.hits else None
        for hit in self.hits.values():
            target, box = self.target(hit.annotation), hit.detections.boxes_xyxy_px[hit.number]
            for name in names:
                if name != "edges" or image_hu is not None:
                    yield name, hit, target, self._beside(name, target, box, image_hu)

    def _beside(self, name: str, target: Target, box: FloatArray, image_hu: NDArray[np.int16] | None) -> FloatArray:
        if name == registry.UPPER_BOUND:
            return target.inside.astype(np.float16)
        canvas = np.zeros(target.shape_yx, np.int16) if image_hu is None else image_hu
        control = control_map(name, canvas, box, image_id=self.image.id, seed=self.game.options.seed)
        control[control < LEAST_HALF / 2] = 0  # what becomes 0 anyway, in a fraction of the time
        return control.astype(np.float16)  # as lungct explain writes it


def _judged(
    judge: Judge, image: CocoImage, rows: list[Row], asked: Sequence[tuple[Row, Asked]]
) -> tuple[list[Row], list[Curve]]:
    """The rows with those of the model's measures after them, and the curves."""
    curves: list[Curve] = []
    found = judge.judge(image, [one for _, one in asked])
    for (base, _), (values, drawn) in zip(asked, found, strict=True):
        for name, value in values.items():
            score = Score(value, NAN, NAN, "" if math.isfinite(value) else UNJUDGED)
            rows.append(_scored(base, name, score, ""))
        curves += [Curve.of(base, kind, points) for kind, points in drawn.items()]
    return rows, curves


def missed_in(maps: Heatmaps) -> BoolArray:
    """(D,) which maps are of a true box that the detector missed: those that the provenance's ``kinds`` call FN."""
    kinds = maps.provenance.get("kinds") or [""] * len(maps.scores)
    return np.array([kind == "FN" for kind in kinds], dtype=bool)


def _problem(saliency: Saliency, maps: Heatmaps, number: int, version: str) -> str:
    """Why a map cannot be scored; the constant control is constant on purpose, and the thesis scored constant maps."""
    if not saliency.finite:
        return "not finite"
    if maps.method in registry.CONTROLS or version == "thesis":
        return ""
    flag = maps.flags[number] if maps.flags else ""
    return f"{flag} map" if flag else "constant map" if saliency.constant else ""


def middle_slice(truth: CocoTruth, image: CocoImage) -> NDArray[np.int16] | None:
    """(Y, X) HU of the slice that was explained; None where the truth names another kind of image."""
    path = truth.root / image.file_name
    if path.suffix != ".npz" or not path.is_file():
        return None
    stack = read_slice(path)
    middle: NDArray[np.int16] = stack[len(stack) // 2]
    return middle


def _base(
    image: CocoImage,
    target: Target,
    number: int,
    annotation: CocoAnnotation | None,
    score: float,
    stratum: str,
    method: str,
) -> Row:
    """The columns that all rules of one map share."""
    known = {} if annotation is None else annotation.attributes
    diameter = known.get("diameter_mm")
    if diameter in (None, ""):
        diameter = target.diameter_px * image.spacing_mm_xy[0] if image.spacing_mm_xy else math.nan
    malignancy = next((known[key] for key in ("malignancy", "malignant") if known.get(key) not in (None, "")), "")
    nothing = float("nan")
    return Row(
        patient_id=image.patient_id,
        case_id=image.case_id,
        image_id=image.id,
        detection=number,
        annotation_id=-1 if annotation is None else annotation.id,
        nodule_id=str(known.get("nodule_id", "")),
        diameter_mm=float(diameter),
        malignancy=str(malignancy),
        score=score,
        stratum=stratum,
        method=method,
        rule="",
        value=nothing,
        chance=nothing,
        ceiling=nothing,
        normalised=nothing,
        status=OK,
    )


def _scored(base: Row, rule: str, score: Score, problem: str) -> Row:
    status = f"{FAILED}: {problem}" if problem else f"none: {score.reason}" if score.reason else OK
    return replace(
        base,
        rule=rule,
        value=score.value,
        chance=score.chance,
        ceiling=score.ceiling,
        normalised=score.normalised,
        status=status,
    )
