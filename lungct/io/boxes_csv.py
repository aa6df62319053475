"""Nodule boxes in CSV: the DLCS24 header first, in order, then our own columns; LPS mm.

A further scalar of a nodule's source has a column of its own, ``attr_<name>``, its cell empty where a nodule has none.
Other columns that are not ours are passed over: nobody knows what stands in them.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from pathlib import Path

from lungct.io import atomic
from lungct.io.csv_table import Row, read_table
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
ATTRIBUTE = "attr_"
NIFTI_SUFFIX = ".nii.gz"


def write_nodules(path: Path, nodules: Iterable[Nodule], *, extra: bool = True) -> None:
    """Write nodules in the DLCS24 layout; ``extra=False`` leaves our own columns and the attributes out."""
    nodules = list(nodules)
    names = sorted({name for nodule in nodules for name in nodule.attributes}) if extra else []
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow((*DLCS_COLUMNS, *(EXTRA_COLUMNS if extra else ()), *(ATTRIBUTE + name for name in names)))
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
            row += [_cell(nodule.attributes.get(name)) for name in names]
        writer.writerow(row)
    atomic.write_bytes(path, stream.getvalue().encode())


def _cell(value: object) -> object:
    return int(value) if isinstance(value, bool) else "" if value is None else value


def read_nodules(path: Path, *, source: str = "") -> list[Nodule]:
    """Read a CSV in the DLCS24 layout, with or without our own columns and attributes.

    Raises:
        InputError: missing, a missing column, a cell that is not a number, a size that is not positive; names the line.
    """
    return [_nodule_of(row, source) for row in read_table(path, DLCS_COLUMNS)]


def _nodule_of(row: Row, source: str) -> Nodule:
    for name in ("patient-id", "nodule_id"):
        if not row.text(name):
            raise row.broken(f"no {name}")
    x, y, z, w, h, d = (row.number(name, "a finite number in mm") for name in DLCS_COLUMNS[3:9])
    if min(w, h, d) <= 0:
        raise row.broken(f"w, h, d are {w}, {h}, {d}, expected positive extents in mm")
    malignant = row.number("Malignant_lbl", "0, 1 or nothing") if row.text("Malignant_lbl") else None
    if malignant not in (0, 1, None):
        raise row.broken(f"Malignant_lbl is {row.text('Malignant_lbl')!r}, expected 0, 1 or nothing")
    return Nodule(
        nodule_id=row.text("nodule_id"),
        patient_id=row.text("patient-id"),
        case_id=volume_stem(Path(row.text("ct_nifti_file"))),
        center_lps_mm=(x, y, z),
        size_mm=(w, h, d),
        malignant=None if malignant is None else int(malignant),
        malignancy=row.number("malignancy") if row.text("malignancy") else None,
        label=row.text("label") or "nodule",
        split=row.text("benchmark_split"),
        source=row.text("source") or source,
        attributes={
            name.removeprefix(ATTRIBUTE): _scalar(row.text(name))
            for name in row.cells
            if name and name.startswith(ATTRIBUTE) and row.text(name)
        },
    )


def _scalar(text: str) -> int | float | str:
    """A number where it is written as we write numbers, so that ``007`` stays a text."""
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        if str(value) == text and math.isfinite(value):
            return value
    return text
