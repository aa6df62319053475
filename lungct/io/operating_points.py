"""``operating_points.json``: at which score a detector makes how many false positives; JSON in its run folder."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lungct.errors import InputError
from lungct.io import atomic

SCHEMA = "lungct.operating-points/1"
FILE_NAME = "operating_points.json"
UNITS = ("scan", "slice")
FOUND_BY = (
    "tta",
    "ensemble_sha256",
    "nodule_score",
    "searched",
    "within",
    "link",
    "join",
    "min_extent_mm",
    "drop_outliers",
)
"""Options of predict that scores and numbers of marks depend on; one that a file does not say is predict's default.

A file that says how scans were searched but not within what is of a version that searched the body.
"""


@dataclass(frozen=True)
class OperatingPoint:
    """Detections of at least ``score`` were false at most ``fp_per_unit`` times per scan or slice.

    Attributes:
        sensitivity: share of the nodules, or of the boxes on slices, that they found.
        reached: False where even all detections together stay below the rate, so that ``score`` is the lowest there is.
    """

    fp_per_unit: float
    score: float
    sensitivity: float
    reached: bool = True


@dataclass(frozen=True)
class OperatingPoints:
    """The points of one detector, by rising rate.

    Attributes:
        unit: what false positives are counted per, ``scan`` or ``slice``; scans without a nodule count.
        calibration: method of the map that the scores went through before, empty for scores as the model gives them.
        measured_on: what the rates were counted on, the digest of the weights, and ``FOUND_BY`` where it is known.
    """

    unit: str
    points: tuple[OperatingPoint, ...]
    calibration: str = ""
    measured_on: Mapping[str, Any] = field(default_factory=dict)

    def at(self, fp_per_unit: float) -> OperatingPoint:
        """The point of the largest rate that is not above the wanted one.

        Raises:
            InputError: every rate of the file is above it.
        """
        below = [one for one in self.points if one.fp_per_unit <= fp_per_unit * (1 + 1e-9)]
        if not below:
            wanted = f"{fp_per_unit:g} false positives per {self.unit}"
            raise InputError(f"no operating point at {wanted}", f"the least is {self.points[0].fp_per_unit:g}")
        return below[-1]


def write_operating_points(path: Path, points: OperatingPoints) -> None:
    """Write them as JSON, complete or not at all."""
    atomic.write_json(path, {"schema": SCHEMA, **asdict(points)}, indent=1)


def read_operating_points(path: Path) -> OperatingPoints:
    """Read what :func:`write_operating_points` wrote.

    Raises:
        InputError: missing, of another schema, no point, rates or scores in the wrong order.
    """
    try:
        record = json.loads(path.read_text("utf-8-sig"))
        schema, unit = record["schema"], record["unit"]
        points = tuple(_point(row) for row in record["points"])
        measured_on = dict(record.get("measured_on", {}))
        calibration = str(record.get("calibration", ""))
    except FileNotFoundError:
        hint = "lungct evaluate --store-into writes it"
        raise InputError.of(path, "no such file", hint) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise InputError.of(path, f"no operating points ({type(problem).__name__}: {problem})") from None
    if schema != SCHEMA or unit not in UNITS:
        raise InputError.of(path, f"{schema!r} per {unit!r}", f"expected {SCHEMA} per scan or slice")
    rates, scores = [one.fp_per_unit for one in points], [one.score for one in points]
    if not points or rates != sorted(set(rates)) or scores != sorted(scores, reverse=True):
        raise InputError.of(path, "its points are in no order", "expected rising rates and scores that do not rise")
    return OperatingPoints(unit, points, calibration, measured_on)


def _point(row: Mapping[str, Any]) -> OperatingPoint:
    rate, score, sensitivity = (float(row[name]) for name in ("fp_per_unit", "score", "sensitivity"))
    if not all(map(math.isfinite, (rate, score, sensitivity))):
        raise ValueError("a number that is not finite")
    return OperatingPoint(rate, score, sensitivity, bool(row.get("reached", True)))
