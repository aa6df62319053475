"""Tables of nodules on whole scans <-> arrays: LUNA16's files, the DLCS24 layout, and what other people make of them.

Columns are found by name, whatever their case and order, and parted by commas, tabs or semicolons. World is LPS mm.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lungct.errors import InputError
from lungct.io.atomic import MANIFEST
from lungct.io.volume_file import volume_stem
from lungct.types import FloatArray, IntArray

_SCAN = ("seriesuid", "seriesinstanceuid", "series_uid", "case_id", "ct_nifti_file", "scan", "scan_id", "filename")
_PATIENT = ("patient-id", "patient_id", "pid", "patientid")
_PLACE = (("coordx", "x", "x_mm"), ("coordy", "y", "y_mm"), ("coordz", "z", "z_mm"))
_SIZE = (("w",), ("h",), ("d",))
_DIAMETER = ("diameter_mm", "diameter", "d_mm")
_SCORE = ("probability", "score", "prob", "p", "confidence")
_SEPARATORS = ("\t", ",", ";")


@dataclass(frozen=True, eq=False)
class ScanRows:
    """N nodules or marks, one per row of a table.

    Attributes:
        scan: N scan ids as written, without blanks, quotes, folder and suffix.
        center_lps_mm: (N, 3) float64.
        size_mm: (N, 3) float64 full extents of the box, NaN where the table has none.
        diameter_mm: (N,) float64 as written, negative where the source did not measure; the larger of w and h where
            the table has a box alone; NaN where it has neither.
        score: (N,) float64, NaN in a table of truth.
        other: further column -> N cells as written.
        patient: N patient ids, empty where the table has no such column.
    """

    scan: tuple[str, ...]
    center_lps_mm: FloatArray
    size_mm: FloatArray
    diameter_mm: FloatArray
    score: FloatArray
    other: Mapping[str, Sequence[str]] = field(default_factory=dict)
    patient: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.scan)


def read_scan_rows(path: Path, *, scored: bool) -> ScanRows:
    """Read a table of nodules, or with ``scored`` of marks with a score each.

    Raises:
        InputError: missing, without a column that is needed, a cell that is not a finite number; names the line.
    """
    columns, lines = _columns(path)
    scan = columns.pop(_required(path, columns, _SCAN))

    def numbers(names: Sequence[str], *, required: bool) -> FloatArray:
        name = _required(path, columns, names) if required else _found(columns, names)
        return _numbers(path, name, lines, columns.pop(name)) if name else np.full(len(scan), np.nan)

    center = np.stack([numbers(names, required=True) for names in _PLACE], axis=1)
    size = np.stack([numbers(names, required=False) for names in _SIZE], axis=1)
    boxed = not np.isnan(size).any() or not len(scan)
    diameter = numbers(_DIAMETER, required=not scored and not boxed)
    if np.isnan(diameter).all() and boxed:
        diameter = size[:, :2].max(axis=1, initial=0)
    score = numbers(_SCORE if scored else (), required=scored)
    patient = columns.pop(_found(columns, _PATIENT)) if _found(columns, _PATIENT) else []
    return ScanRows(
        tuple(map(bare_id, scan)), center, size, diameter, score, columns, tuple(one.strip() for one in patient)
    )


def read_scan_ids(path: Path) -> list[str]:
    """Read a list of scans: one id per line with or without a header, a table with a column of ids, or a manifest.

    Raises:
        InputError: missing, empty, an id that stands twice in a bare list.
    """
    path = path / MANIFEST if path.is_dir() else path
    text = _text(path)
    table = csv.reader(io.StringIO(text), delimiter=_separator(text))
    rows = [filled for row in table if (filled := [cell for cell in row if cell.strip()])]
    if path.suffix == ".ndjson":
        ids = _manifest_ids(path, text)
    elif rows and len(rows[0]) > 1:
        columns, _ = _columns(path)
        ids = list(dict.fromkeys(map(bare_id, columns[_required(path, columns, _SCAN)])))
    else:
        ids = [bare_id(row[0]) for row in rows if row[0].strip().lower() not in _SCAN]
    if not ids:
        raise InputError.of(path, "no scan id in it", "expected one per line")
    if twice := sum(count > 1 for count in Counter(ids).values()):
        raise InputError.of(
            path, f"{twice} of the scans are listed twice", "list each once: false positives are per scan"
        )
    return ids


def _manifest_ids(path: Path, text: str) -> list[str]:
    try:
        records = [json.loads(line) for line in text.splitlines() if line.strip()]
        return [str(record["case_id"]) for record in records if "case_id" in record]
    except (ValueError, TypeError) as problem:
        raise InputError.of(path, f"not readable as a manifest ({problem})") from None


def bare_id(written: str) -> str:
    """A scan's id without blanks, quotes, folders and the suffix of a volume file."""
    name = written.strip().strip("'\"").strip().replace("\\", "/").rstrip("/")
    return volume_stem(Path(name)) if name else ""


class ScanPlaces:
    """Where a scan stands in a list, whatever padding its id has: ``DLCS_0007``, ``DLCS_7``, ``0007``, ``7``.

    An id is looked up as written, then without the zeros that pad its numbers, then, where one of the two is a bare
    number, by its only number. A form that fits two scans of the list fits none.
    """

    def __init__(self, known: Sequence[str]) -> None:
        self._known = known
        self._exact, self._unpadded, self._number = (
            _unique(map(form, known)) for form in (str, _without_padding, _only_number)
        )

    def of(self, ids: Sequence[str]) -> IntArray:
        """(N,) place of each id in the list, -1 for an unknown one."""
        found = {one: self._place(one) for one in set(ids)}
        return np.asarray([found[one] for one in ids], dtype=np.int64)

    def _place(self, one: str) -> int:
        place = self._exact.get(one, self._unpadded.get(_without_padding(one), -1))
        if place < 0 and (number := _only_number(one)):
            place = self._number.get(number, -1)
            if place >= 0 and not (one.isdigit() or self._known[place].isdigit()):
                return -1
        return place


def _unique(keys: Iterable[str]) -> dict[str, int]:
    places: dict[str, int] = {}
    repeated = {""}
    for place, key in enumerate(keys):
        if key in places:
            repeated.add(key)
        places[key] = place
    return {key: place for key, place in places.items() if key not in repeated}


def _without_padding(one: str) -> str:
    return re.sub(r"(?<!\d)0+(?=\d)", "", one)


def _only_number(one: str) -> str:
    numbers = re.findall(r"\d+", one)
    return numbers[0].lstrip("0") or "0" if len(numbers) == 1 else ""


def is_json(path: Path) -> bool:
    """Whether a file holds a JSON document and no table, by its first letter.

    Raises:
        InputError: missing, not readable, empty, or no text.
    """
    try:
        with open(path, encoding="utf-8-sig") as stream:
            first = stream.read(256).lstrip()[:1]
    except UnicodeDecodeError:
        raise InputError.of(path, "neither JSON nor a table", "it is no UTF-8 text; is it packed?") from None
    except FileNotFoundError:
        raise InputError.of(path, "no such file") from None
    except OSError as problem:
        raise InputError.of(path, f"not readable ({problem.strerror})") from None
    if not first:
        raise InputError.of(path, "empty", "expected COCO JSON, or a table of nodules on scans")
    return first in ("{", "[") and path.suffix != ".ndjson"


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise InputError.of(path, "no such file") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise InputError.of(path, f"not readable as a table ({problem})") from None


def _separator(text: str) -> str:
    return max(_SEPARATORS, key=text[:4096].count)


def _columns(path: Path) -> tuple[dict[str, list[str]], list[int]]:
    """Lower-case column name -> cells, and the line of each row; blank lines are left out."""
    text = _text(path)
    reader = csv.reader(io.StringIO(text), delimiter=_separator(text), skipinitialspace=True)
    header = [name.strip().strip("'\"").lower() for name in next(reader, [])]
    if len(set(header)) < len(header):
        raise InputError.of(path, "two columns have one name")
    cells: list[list[str]] = []
    lines: list[int] = []
    for row in reader:
        if not any(map(str.strip, row)):
            continue
        if len(row) != len(header):
            raise InputError.of(path, f"line {reader.line_num} has {len(row)} cells, the header {len(header)}")
        cells.append(row)
        lines.append(reader.line_num)
    return {name: [row[k] for row in cells] for k, name in enumerate(header)}, lines


def _found(columns: Mapping[str, object], names: Sequence[str]) -> str:
    return next((name for name in names if name in columns), "")


def _required(path: Path, columns: Mapping[str, object], names: Sequence[str]) -> str:
    if name := _found(columns, names):
        return name
    hint = "the first line names the columns, as in seriesuid,coordX,coordY,coordZ"
    raise InputError.of(path, f"no column {' or '.join(names[:3])}", hint)


def _numbers(path: Path, name: str, lines: Sequence[int], cells: Sequence[str]) -> FloatArray:
    values = np.empty(len(cells))
    for place, cell in enumerate(cells):
        try:
            values[place] = float(cell)
        except ValueError:
            raise InputError.of(path, f"line {lines[place]}: {name} is not a number") from None
        if not math.isfinite(values[place]):
            raise InputError.of(path, f"line {lines[place]}: {name} is {cell.strip()}, expected a finite number")
    return values
