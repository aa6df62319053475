"""The tables of the report, as words: what was trained on, what was found, how the explanations scored."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lungct import registry
from lungct.io.coco import CocoTruth
from lungct.report.flagged_maps import flags_in_words
from lungct.types import FloatArray

NONE = "–"
_DIGEST = re.compile(r"[0-9a-f]{32,}")


@dataclass(frozen=True)
class Table:
    """Words in rows; the first column heads its row, the others hold numbers unless ``words`` is set."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: bool = False


def data_table(splits: Mapping[str, CocoTruth]) -> Table:
    """Patients, scans, slices and nodules per split."""
    columns = ("split", "patients", "scans", "slices", "with a box", "boxes", "nodules")
    rows = []
    for name, truth in splits.items():
        with_nodule = sum(bool(found) for found in truth.annotations_of.values())
        scans = {image.case_id for image in truth.images}
        counts = (len(patients_of(truth)), len(scans), len(truth.images), with_nodule, len(truth.annotations))
        nodules = len(nodule_keys(truth)) if nodule_keys(truth) else NONE
        rows.append([name, *(f"{count:,}" for count in counts), f"{nodules:,}" if nodules != NONE else NONE])
    return Table("The splits", columns, rows)


def maps_table(found: Mapping[str, Mapping[str, Any]]) -> Table:
    """Method -> what :func:`lungct.report.flagged_maps.flagged` counts."""
    rows = []
    for method, one in found.items():
        name = f"{method} (control)" if method in registry.CONTROLS else method
        share = NONE if one["vanished_share"] is None else f"{one['vanished_share']:.0%}"
        rows.append([name, f"{one['maps']:,}", flags_in_words(one), share])
    return Table("The maps, and which mean nothing", ("method", "maps", "flagged", "detection lost when masked"), rows)


def patients_of(truth: CocoTruth) -> set[str]:
    """The patients of a split."""
    return {image.patient_id for image in truth.images}


def nodule_keys(truth: CocoTruth) -> set[tuple[str, str]]:
    """(case, nodule) of every box that names its nodule."""
    case_of = {image.id: image.case_id for image in truth.images}
    return {
        (case_of[box.image_id], str(box.attributes["nodule_id"]))
        for box in truth.annotations
        if "nodule_id" in box.attributes
    }


def shared_patients(splits: Mapping[str, CocoTruth]) -> int:
    """How many patients are in more than one split; anything but 0 makes the figures too good."""
    everyone = [patient for truth in splits.values() for patient in patients_of(truth)]
    return len(everyone) - len(set(everyone))


def box_sizes(splits: Mapping[str, CocoTruth]) -> tuple[dict[str, FloatArray], str]:
    """Longest side of each true box per split, and its unit: mm where every slice knows its spacing, else px."""
    spaced = all(image.spacing_mm_xy for truth in splits.values() for image in truth.images)
    sizes: dict[str, FloatArray] = {}
    for name, truth in splits.items():
        spacing_of = {image.id: image.spacing_mm_xy for image in truth.images}
        found = []
        for one in truth.annotations:
            x1, y1, x2, y2 = one.box_xyxy_px
            spacing_x, spacing_y = (spacing_of[one.image_id] if spaced else None) or (1.0, 1.0)
            found.append(max((x2 - x1) * spacing_x, (y2 - y1) * spacing_y))
        sizes[name] = np.asarray(found, dtype=np.float64)
    return sizes, "mm" if spaced else "px"


def card_table(card: Mapping[str, Any]) -> Table:
    """Every entry of a model card."""
    rows = [[key.replace("_", " "), plain(value)] for key, value in sorted(card.items()) if key != "schema"]
    return Table("The model", ("property", "value"), rows, words=True)


def without_empty(one: Table) -> Table:
    """The table without the columns in which no row has anything."""
    kept = [place for place in range(len(one.columns)) if any(row[place] != NONE for row in one.rows)]
    rows = [[row[place] for place in kept] for row in one.rows]
    return Table(one.caption, [one.columns[place] for place in kept], rows, one.words)


def number(value: Any, *, signed: bool = False) -> str:
    """Three decimals, or a dash for nothing and for NaN."""
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return NONE
    return f"{value:+z.3f}" if signed else f"{value:z.3f}"


def probability(value: Any) -> str:
    """A p-value, never shown as 0."""
    if isinstance(value, (int, float)) and value < 0.001:
        return "< 0.001"
    return number(value)


def interval(value: Any) -> str:
    """``low to high``, or a dash."""
    if not isinstance(value, Sequence) or len(value) != 2 or NONE in (number(value[0]), number(value[1])):
        return NONE
    return f"{number(value[0])} to {number(value[1])}"


def plain(value: Any) -> str:
    """A JSON value in words: a digest by its first figures, an absolute path by its last name alone."""
    if value is None or value == "":
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) > 9999 else str(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(one)}" for key, one in value.items())
    if isinstance(value, (list, tuple)):
        nested = any(isinstance(one, (list, tuple)) for one in value)
        return ("; " if nested else ", ").join(plain(one) for one in value)
    text = str(value)
    if _DIGEST.fullmatch(text):
        return f"{text[:12]}…"
    return text.rstrip("/").rsplit("/", 1)[-1] if text.startswith("/") else text
