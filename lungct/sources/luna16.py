"""The LUNA16 layout: ``subset0`` .. ``subset9`` of MHD scans, and tables of nodules as points with a diameter.

A nodule becomes a cube of its diameter. ``annotations_excluded.csv`` is carried as each scan's excluded findings, which
are no training boxes and no mistakes of a detector. Where ``seriesuids.csv`` is there, a scan without a row is free of
nodules only if it is listed. A table with the readers' malignancy votes (``mal_bool``, ``mal_details``) may stand
beside ``annotations.csv`` or for it; their mean is the nodule's malignancy. ``mal_bool`` is carried as an attribute: it
is what readers think, not a diagnosis. LUNA16 names no patients, so each scan counts as one.

Source: Setio et al., Validation, comparison, and combination of algorithms for automatic detection of pulmonary nodules
in computed tomography images: the LUNA16 challenge, Medical Image Analysis 42, 2017.
"""

from __future__ import annotations

import re
from collections import defaultdict
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from lungct.errors import InputError
from lungct.io.csv_table import Row, has_columns
from lungct.io.points_csv import POINT_COLUMNS, read_points
from lungct.io.volume_file import read_volume, volume_stem
from lungct.sources.csv_frame import placed
from lungct.sources.points import cubes, nodule_points, refuse_absent
from lungct.sources.scan_files import scan_files
from lungct.sources.source import Contents, SourceOptions
from lungct.types import Finding, Scan

NAME = "luna16"
ANNOTATIONS, EXCLUDED, SERIES = "annotations.csv", "annotations_excluded.csv", "seriesuids.csv"
VOTE_COLUMNS = ("mal_bool", "mal_details")
TABLE_FOLDERS = ("", "CSVFILES", "evaluationScript/annotations")
SAME_PLACE_DIGITS = 3


def recognises(path: Path) -> bool:
    """Whether a table of nodules is there under the challenge's name, or one with malignancy votes."""
    return path.is_dir() and _tables(path)[0] is not None


def read(path: Path, options: SourceOptions) -> Contents:
    """Every scan of the subsets that are there, or of the whole folder where there is no subset.

    Raises:
        InputError: no table, a broken one, none of its scans in the folder, coordinates in another frame than
            ``options`` say.
    """
    table, votes = _tables(path)
    if table is None:
        raise InputError.of(path, f"no {ANNOTATIONS} in it", "expected the columns " + ",".join(POINT_COLUMNS))
    said = {} if votes is None else {_place(row): _votes(row) for _, _, row in read_points(votes)}
    points = nodule_points(table, lambda row: said.get(_place(row), {}))
    files = _files(path)
    refuse_absent(points.keys(), {volume_stem(file) for file in files}, table)
    excluded, listed = _excluded(path), _listed(path)
    scans = []
    for file, facts in files.items():
        stem = volume_stem(file)
        case_id = options.naming.published("case", stem)
        mine = [(point, {**more, **facts}) for point, more in points.get(stem, ())]
        scans.append(
            Scan(
                case_id=case_id,
                patient_id=case_id,
                load=partial(read_volume, file),
                nodules=cubes(mine, case_id, case_id, source=NAME),
                source=NAME,
                truth_known=bool(mine) or listed is None or stem in listed,
                excluded=tuple(excluded.get(stem, ())),
                attributes=facts,
            )
        )
    return Contents(NAME, placed(scans, options.csv_frame, table, sizes=False))


def _tables(path: Path) -> tuple[Path | None, Path | None]:
    """The table of nodules, and the one with votes; the same one where there is only that."""
    named = _table(path, ANNOTATIONS, POINT_COLUMNS)
    votes = _table(path, "*.csv", POINT_COLUMNS + VOTE_COLUMNS)
    return named or votes, votes


def _table(path: Path, pattern: str, columns: tuple[str, ...] = ()) -> Path | None:
    found = (one for folder in TABLE_FOLDERS for one in sorted((path / folder).glob(pattern)))
    return next((one for one in found if has_columns(one, columns)), None)


def _files(path: Path) -> dict[Path, dict[str, Any]]:
    """Scan files, each with the number of its subset; lung masks lie beside the subsets, not in them."""
    subsets = [(one, re.fullmatch(r"subset_?(\d+)", one.name)) for one in sorted(path.iterdir()) if one.is_dir()]
    inside: dict[Path, dict[str, Any]] = {
        file: {"subset": int(name[1])} for one, name in subsets if name for file in scan_files(one)
    }
    return inside or {file: {} for file in scan_files(path)}


def _place(row: Row) -> tuple[str, ...]:
    """Series and coordinates to a micrometre: two tables write the same number with other last digits."""
    return row.text("seriesuid"), *(f"{row.number(name):.{SAME_PLACE_DIGITS}f}" for name in POINT_COLUMNS[1:4])


def _votes(row: Row) -> dict[str, Any]:
    """``[4, 2, 4, 2]`` and its mean; several readers of one nodule, some of whom may have marked it twice."""
    text = row.text("mal_details")
    if not re.fullmatch(r"\[\s*[1-5](\s*,\s*[1-5])*\s*\]", text):
        raise row.broken(f"mal_details is {text!r}, expected votes from 1 to 5 as in [4, 2, 4]")
    votes = [int(one) for one in re.findall(r"\d", text)]
    return {
        "malignancy": round(fmean(votes), 4),
        "malignancy_votes": " ".join(map(str, votes)),
        "mal_bool": int(row.text("mal_bool").lower() in ("true", "1")),
    }


def _excluded(path: Path) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = defaultdict(list)
    table = _table(path, EXCLUDED, POINT_COLUMNS)
    for series, finding, _ in read_points(table) if table else ():
        found[series].append(finding)
    return found


def _listed(path: Path) -> set[str] | None:
    """The series of ``seriesuids.csv``, which has no header; None where it is not there."""
    table = _table(path, SERIES)
    if table is None:
        return None
    try:
        return {line.strip() for line in table.read_text("utf-8-sig").splitlines() if line.strip()}
    except (OSError, UnicodeDecodeError) as problem:
        raise InputError.of(table, f"not readable as text ({problem})") from None
