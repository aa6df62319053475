"""Nodule boxes in CSV: the DLCS24 header first, in order, then our own columns; LPS mm."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lungct.errors import InputError
from lungct.io import atomic
from lungct.io.volume_file import volume_stem
from lungct.types import Nodule

DLCS_COLUMNS = (
    "patient-id",
    "nodule_id",
    "ct_nifti_file",
    "coordX",
    "coordY",
    "coordZ",
    "w",
    "h",
    "d",
    "Malignant_lbl",
    "benchmark_split",
)
EXTRA_COLUMNS = ("malignancy", "label", "source")
NIFTI_SUFFIX = ".nii.gz"
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def write_nodules(path: Path, nodules: Iterable[Nodule], *, extra: bool = True) -> None:
    """Write nodules in the DLCS24 layout; ``extra=False`` leaves our own columns out."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(DLCS_COLUMNS + (EXTRA_COLUMNS if extra else ()))
    for nodule in nodules:
        row: list[object] = [
            nodule.patient_id,
            nodule.nodule_id,
            nodule.case_id + NIFTI_SUFFIX,
            *(repr(float(value)) for value in (*nodule.center_lps_mm, *nodule.size_mm)),
            "" if nodule.malignant is None else nodule.malignant,
            nodule.split,
        ]
        if extra:
            row += ["" if nodule.malignancy is None else nodule.malignancy, nodule.label, nodule.source]
        writer.writerow(row)
    atomic.write_bytes(path, stream.getvalue().encode())


def read_nodules(path: Path, *, source: str = "") -> list[Nodule]:
    """Read a CSV in the DLCS24 layout, with or without our own columns.

    Raises:
        InputError: missing, a missing column, a cell that is not a number, a size that is not positive; names the line.
    """
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise InputError.of(path, "no such file") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise InputError.of(path, f"not readable as CSV ({problem})") from None
    reader = csv.DictReader(io.StringIO(text))
    missing = [name for name in DLCS_COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        found = (reader.fieldnames or [""])[0]
        other = next((name for mark, name in _OTHER_SEPARATORS.items() if mark in found), "")
        if other:
            raise InputError.of(path, f"its columns are parted by {other}", "expected commas")
        raise InputError.of(path, f"no column {', '.join(missing)}", "expected the header " + ",".join(DLCS_COLUMNS))
    twice = [name for name in DLCS_COLUMNS if (reader.fieldnames or []).count(name) > 1]
    if twice:
        raise InputError.of(path, f"two columns {twice[0]}", "keep one of them")
    nodules = []
    for number, row in enumerate(reader, 2):
        try:
            nodules.append(_nodule_of(row, source))
        except (ValueError, TypeError, AttributeError, OverflowError) as problem:
            raise InputError.of(path, f"line {number}: {problem}") from None
    return nodules


def _nodule_of(row: dict[str | None, Any], source: str) -> Nodule:
    if None in row:
        raise ValueError("more cells than the header has columns")
    for name in ("patient-id", "nodule_id"):
        if not row[name].strip():
            raise ValueError(f"no {name}")
    x, y, z, w, h, d = (_number(row, name) for name in DLCS_COLUMNS[3:9])
    if min(w, h, d) <= 0:
        raise ValueError(f"w, h, d are {w}, {h}, {d}, expected positive extents in mm")
    file_name = row["ct_nifti_file"].strip()
    malignant = row["Malignant_lbl"].strip()
    if malignant and float(malignant) not in (0, 1):
        raise ValueError(f"Malignant_lbl is {malignant!r}, expected 0, 1 or nothing")
    malignancy = (row.get("malignancy") or "").strip()
    return Nodule(
        nodule_id=row["nodule_id"].strip(),
        patient_id=row["patient-id"].strip(),
        case_id=volume_stem(Path(file_name)),
        center_lps_mm=(x, y, z),
        size_mm=(w, h, d),
        malignant=int(float(malignant)) if malignant else None,
        malignancy=float(malignancy) if malignancy else None,
        label=(row.get("label") or "nodule").strip(),
        split=row["benchmark_split"].strip(),
        source=(row.get("source") or source).strip(),
    )


def _number(row: dict[str | None, Any], name: str) -> float:
    try:
        value = float(row[name])
    except ValueError:
        raise ValueError(f"{name} is {row[name]!r}, expected a number in mm") from None
    if not math.isfinite(value):
        raise ValueError(f"{name} is {row[name]!r}, expected a finite number in mm")
    return value
