"""The audit's text files: findings, measures, the list of what to leave out, and the summary."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lungct.audit.finding import KINDS, SEVERITIES, Finding
from lungct.audit.items import Item

SCHEMA = "lungct.audit/1"
DIGITS = 6
COLUMNS = ("kind", "severity", "case", "other", "measure", "value", "limit", "what_to_do")


def findings_csv(findings: Sequence[Finding]) -> bytes:
    """``findings.csv``: a row per finding, heaviest first."""
    rows = [
        (one.kind, one.severity, one.case, one.other, one.measure, one.value, one.limit, KINDS[one.kind].advice)
        for one in findings
    ]
    return _csv(COLUMNS, rows)


def measures_csv(items: Sequence[Item], facts: Sequence[Mapping[str, float]]) -> bytes:
    """``measures.csv``: a row per scan or image with every number that was measured of it."""
    names = list(dict.fromkeys(name for one in facts for name in one))
    rows = [
        (item.name, item.case_id, item.patient_id, item.split, *(one.get(name, "") for name in names))
        for item, one in zip(items, facts, strict=True)
    ]
    return _csv(("name", "case_id", "patient_id", "split", *names), rows)


def exclude_txt(items: Sequence[Item], reasons: Mapping[int, str]) -> bytes:
    """Names to leave out of one data set, one a line, the reason behind a ``#``."""
    lines = [f"{item.plain_name}  # {reasons[place]}" for place, item in enumerate(items) if place in reasons]
    return "".join(f"{line}\n" for line in lines).encode()


def summary_of(
    items: Sequence[Item], findings: Sequence[Finding], options: Mapping[str, Any], left_out: Mapping[int, str]
) -> dict[str, Any]:
    """``summary.json``: what was looked at, and counts of findings by severity and kind."""
    counts = Counter(one.kind for one in findings)
    weights = Counter(one.severity for one in findings)
    return {
        "schema": SCHEMA,
        "options": dict(options),
        "data_sets": data_sets_of(items),
        "findings": {name: weights[name] for name in reversed(SEVERITIES)},
        "kinds": {
            name: {"severity": kind.severity, "count": counts[name], "summary": kind.summary}
            for name, kind in KINDS.items()
            if counts[name]
        },
        "left_out": len(left_out),
    }


def data_sets_of(items: Sequence[Item]) -> list[dict[str, Any]]:
    """What each data set holds, by its number."""
    return [_data_set(number, items) for number in sorted({item.data_set for item in items})]


def _data_set(number: int, items: Sequence[Item]) -> dict[str, Any]:
    mine = [item for item in items if item.data_set == number]
    return {
        "number": number,
        "scans": sum(item.is_scan for item in mine),
        "images": sum(not item.is_scan for item in mine),
        "cases": len({item.case_id for item in mine}),
        "patients": len({item.patient_id for item in mine}),
        "boxes": sum(len(item.markings) for item in mine),
        "splits": dict(sorted(Counter(item.split for item in mine if item.split).items())),
    }


def _csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return stream.getvalue().encode()


def _cell(value: object) -> object:
    if not isinstance(value, float):
        return value
    return f"{value:.{DIGITS}g}" if math.isfinite(value) else ""
