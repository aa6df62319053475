"""Round findings in CSV, the LUNA16 columns ``seriesuid,coordX,coordY,coordZ,diameter_mm``; LPS mm.

Source: LUNA16 challenge, files annotations.csv and annotations_excluded.csv (Setio 2017).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from lungct.io import atomic
from lungct.io.csv_table import Row, read_table
from lungct.types import Finding

POINT_COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "diameter_mm")


def read_points(path: Path) -> list[tuple[str, Finding, Row]]:
    """Series, finding, and the line itself for what further columns say.

    Raises:
        InputError: missing, a missing column, no series, a cell that is not a number.
    """
    return [(_series(row), _finding(row), row) for row in read_table(path, POINT_COLUMNS)]


def _series(row: Row) -> str:
    series = row.text("seriesuid")
    if not series:
        raise row.broken("no seriesuid in it")
    return series


def _finding(row: Row) -> Finding:
    x, y, z = (row.number(name, "a finite number in mm") for name in POINT_COLUMNS[1:4])
    return Finding((x, y, z), row.number("diameter_mm", "a finite number in mm"))


def write_points(path: Path, findings: Iterable[tuple[str, Finding]]) -> None:
    """Write (case id, finding) in the LUNA16 columns."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(POINT_COLUMNS)
    for case_id, finding in findings:
        writer.writerow([case_id, *(repr(float(value)) for value in (*finding.center_lps_mm, finding.diameter_mm))])
    atomic.write_bytes(path, stream.getvalue().encode())
