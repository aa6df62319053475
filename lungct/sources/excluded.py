"""``excluded.csv`` beside ``nodules.csv``: findings that an evaluation leaves out of account, in the LUNA16 columns."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from lungct.io.points_csv import read_points
from lungct.types import Finding, Scan

EXCLUDED = "excluded.csv"


def with_excluded(scans: tuple[Scan, ...], table: Path) -> tuple[Scan, ...]:
    """The scans with their findings of ``table``, whose ``seriesuid`` are our case ids; as they are where it is not.

    Raises:
        InputError: a broken CSV.
    """
    if not table.is_file():
        return scans
    found: dict[str, list[Finding]] = defaultdict(list)
    for case_id, finding, _ in read_points(table):
        found[case_id].append(finding)
    return tuple(replace(scan, excluded=tuple(found.get(scan.case_id, ()))) for scan in scans)
