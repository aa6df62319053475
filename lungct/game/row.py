"""One map under one rule: a line of ``scores.csv``, written and read back."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lungct import registry
from lungct.errors import InputError

OK = "ok"
FAILED = "failed"
_CURVE = ("patient_id", "image_id", "detection", "stratum", "method", "kind")
_NUMBERS = ("diameter_mm", "score", "value", "chance", "ceiling", "normalised")


@dataclass(frozen=True)
class Row:
    """The columns of ``scores.csv``.

    Attributes:
        detection: number of the map among its file's.
        annotation_id: the true box that the detection found, -1 for a false positive.
        diameter_mm: of the nodule, or of a false positive's box; NaN unknown.
        malignancy: as the truth has it, empty unknown.
        score: the detector's.
        stratum: ``TP``, ``FP`` (scored against the detection's own box) or ``FN`` (a true box the detector missed).
        value, chance, ceiling, normalised: NaN where there is no value; ``status`` says why.
    """

    patient_id: str
    case_id: str
    image_id: int | str
    detection: int
    annotation_id: int | str
    nodule_id: str
    diameter_mm: float
    malignancy: str
    score: float
    stratum: str
    method: str
    rule: str
    value: float
    chance: float
    ceiling: float
    normalised: float
    status: str


@dataclass(frozen=True)
class Curve:
    """The columns of ``curves.csv``: scores at 0, 5, ..., 100 % of the pixels that a curve changes."""

    patient_id: str
    image_id: int | str
    detection: int
    stratum: str
    method: str
    kind: str
    scores: tuple[float, ...]

    @classmethod
    def of(cls, base: Row, kind: str, scores: Iterable[float]) -> Curve:
        """The curve of the map that a row is of."""
        rounded = tuple(float(f"{score:.6g}") for score in scores)
        return cls(base.patient_id, base.image_id, base.detection, base.stratum, base.method, kind, rounded)


COLUMNS = tuple(one.name for one in dataclasses.fields(Row))


def scores_csv(rows: Sequence[Row]) -> bytes:
    """``scores.csv``: a line per map and rule; a number that does not exist is left empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow(_cell(getattr(row, name)) for name in COLUMNS)
    return stream.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.8g}" if math.isfinite(value) else ""
    return value


def curves_csv(curves: Sequence[Curve]) -> bytes:
    """``curves.csv``: a line per map and curve."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow((*_CURVE, *(f"at_{5 * place}" for place in range(21))))
    for one in curves:
        writer.writerow((*(getattr(one, name) for name in _CURVE), *(f"{score:.6g}" for score in one.scores)))
    return stream.getvalue().encode()


def read_curves(path: Path) -> list[Curve]:
    """The curves of a ``curves.csv``, none where there is no such file.

    Raises:
        InputError: no such table.
    """
    if not path.is_file():
        return []
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            return [_curve_of(line) for line in csv.reader(stream) if line[0] != "patient_id"]
    except (OSError, UnicodeDecodeError, csv.Error, ValueError, IndexError) as problem:
        raise InputError.of(path, f"not a table of curves ({type(problem).__name__}: {problem})") from None


def _curve_of(line: Sequence[str]) -> Curve:
    patient, image, detection, stratum, method, kind, *scores = line
    return Curve(patient, _id(image), int(detection), stratum, method, kind, tuple(map(float, scores)))


def _id(text: str) -> int | str:
    """An id as JSON had it: a whole number where it reads as one."""
    return int(text) if text.lstrip("-").isdigit() and str(int(text)) == text else text


def read_rows(path: Path) -> list[Row]:
    """The rows of a ``scores.csv``; ids that are whole numbers come back as such.

    Raises:
        InputError: missing, or no such table.
    """
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            lines = csv.reader(stream)
            header = next(lines)
            places = [header.index(name) for name in COLUMNS]
            return [_row_of([line[place] for place in places]) for line in lines if line]
    except FileNotFoundError:
        raise InputError.of(path, "no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error, LookupError, ValueError, StopIteration) as problem:
        raise InputError.of(path, f"not a table of scores ({type(problem).__name__}: {problem})") from None


def _row_of(line: Sequence[str]) -> Row:
    return Row(*(read(cell) for read, cell in zip(_READERS, line, strict=True)))


def _number(text: str) -> float:
    return float(text) if text else math.nan


_WHOLE: Mapping[str, Callable[[str], Any]] = {"image_id": _id, "annotation_id": _id, "detection": int}
_READERS = [_WHOLE.get(name, _number if name in _NUMBERS else str) for name in COLUMNS]


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Methods first and controls last, then rule, image and detection."""
    beside = {name: place for place, name in enumerate((*registry.CONTROLS, registry.UPPER_BOUND), 1)}
    rules = {name: place for place, name in enumerate(registry.EVERY_MEASURE)}

    def place(row: Row) -> tuple[int, str, int, str, int]:
        return beside.get(row.method, 0), row.method, rules[row.rule], str(row.image_id).zfill(12), row.detection

    return sorted(rows, key=place)
