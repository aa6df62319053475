"""Nodules that a table gives as points with a diameter -> cubes, for the layouts that have such a table."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from lungct.errors import InputError
from lungct.io.csv_table import Row
from lungct.io.points_csv import read_points
from lungct.types import Finding, Nodule

logger = logging.getLogger("lungct")
Points: TypeAlias = Mapping[str, Sequence[tuple[Finding, dict[str, Any]]]]
"""Series -> its points and what else the table says of each."""


def nodule_points(table: Path, also: Callable[[Row], dict[str, Any]] = lambda row: {}) -> Points:
    """Every row of a table of nodules; ``also`` finds the attributes of a row.

    Raises:
        InputError: a broken table, or a diameter that is not positive.
    """
    found: dict[str, list[tuple[Finding, dict[str, Any]]]] = defaultdict(list)
    for series, point, row in read_points(table):
        if point.diameter_mm <= 0:
            raise row.broken(f"diameter_mm is {point.diameter_mm:g}, expected a positive number in mm")
        found[series].append((point, also(row)))
    return found


def refuse_absent(annotated: Collection[str], present: Collection[str], table: Path) -> None:
    """Count the annotated series that are not in the folder.

    Raises:
        InputError: none of them is.
    """
    absent = set(annotated).difference(present)
    if annotated and len(absent) == len(annotated):
        hint = "files must be named by the table's seriesuid, or DICOM series have it as their UID"
        raise InputError.of(table, f"none of its {len(annotated)} scans is in the folder", hint)
    if absent:
        logger.warning("%s: %d of %d annotated scans are not in the folder", table.parent, len(absent), len(annotated))


def cubes(
    points: Sequence[tuple[Finding, dict[str, Any]]], case_id: str, patient_id: str, **same: Any
) -> tuple[Nodule, ...]:
    """A nodule per point, in a cube of its diameter, numbered in the table's order; ``malignancy`` of what else is said
    becomes the nodule's own. ``same`` goes to every nodule."""
    found = []
    for number, (point, said) in enumerate(points, 1):
        found.append(
            Nodule(
                nodule_id=f"{case_id}_{number:02d}",
                patient_id=patient_id,
                case_id=case_id,
                center_lps_mm=point.center_lps_mm,
                size_mm=(point.diameter_mm,) * 3,
                malignancy=said.get("malignancy"),
                attributes={name: value for name, value in said.items() if name != "malignancy"},
                **same,
            )
        )
    return tuple(found)
