"""Lists that people and other programs give us: names a line, and slices of scans as CSV or COCO results."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lungct.errors import InputError

SLICE_COLUMNS = ("case_id", "z_index")


def read_names(path: Path) -> dict[str, int]:
    """Each name of a text file and the line it stands in; empty lines and what follows a ``#`` are no names.

    Raises:
        InputError: missing, or not text.
    """
    lines = _text(path).splitlines()
    bare = ((line.partition("#")[0].strip(), number) for number, line in enumerate(lines, 1))
    return {name: number for name, number in bare if name}


def read_case_slices(path: Path) -> dict[str, set[int]]:
    """Slices of scans, case -> slice indices: a CSV with ``case_id,z_index`` or ``image_id``, or COCO results.

    An ``image_id`` is what ``lungct predict`` names the slices of a scan by, ``<case_id>/<z_index>``.

    Raises:
        InputError: missing, neither CSV nor COCO results, without those columns, or a slice that is no such thing.
    """
    text = _text(path)
    rows = _results(text, path) if text.lstrip()[:1] in ("[", "{") else _csv_rows(text, path)
    found: dict[str, set[int]] = defaultdict(set)
    for where, row in rows:
        try:
            case, z = _slice_of(row)
        except ValueError as problem:
            raise InputError.of(path, f"{where}: {problem}") from None
        found[case].add(z)
    return dict(found)


def slice_name(case_id: str, z_index: int) -> str:
    """The name of one slice of a scan, which is also where its file lies under ``images/``."""
    return f"{case_id}/{z_index:04d}"


def split_slice_name(name: str) -> tuple[str, int] | None:
    """Case and slice index of a :func:`slice_name`, None where a name is no such one."""
    case, _, z = name.rpartition("/")
    return (case, int(z)) if case and z.isascii() and z.isdigit() else None


def _slice_of(row: Mapping[str, Any]) -> tuple[str, int]:
    if "z_index" in row:
        case, z = str(row["case_id"] or "").strip(), str(row["z_index"] or "").strip()
        if not case or not (z.isascii() and z.isdigit()):
            raise ValueError("expected a case_id and a z_index of 0 or more")
        return case, int(z)
    image_id = row["image_id"]
    found = split_slice_name(image_id.strip()) if isinstance(image_id, str) else None
    if found is None:
        raise ValueError("its image_id is not <case_id>/<z_index>, as those of lungct predict on scans are")
    return found


def _results(text: str, path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as problem:
        raise InputError.of(path, f"not readable as JSON ({problem})") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "image_id" in row for row in rows):
        raise InputError.of(path, "not a COCO results array", "expected [{image_id, category_id, bbox, score}, ...]")
    for number, row in enumerate(rows):
        yield f"record {number}", row


def _csv_rows(text: str, path: Path) -> Iterable[tuple[str, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text))
    columns = set(reader.fieldnames or ())
    if not columns.issuperset(SLICE_COLUMNS) and "image_id" not in columns:
        raise InputError.of(path, "no columns case_id, z_index and no image_id in its first line")
    return ((f"line {reader.line_num}", row) for row in reader)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise InputError.of(path, "no such file") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise InputError.of(path, f"not readable as text ({problem})") from None
