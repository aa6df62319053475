"""The picture page: which findings are shown, and from which slices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from lungct.audit.finding import KINDS, Finding
from lungct.audit.items import Item
from lungct.ct.geometry import to_canonical
from lungct.errors import InputError
from lungct.registry import HU_WINDOWS
from lungct.report.findings_page import Picture, Row, axial, coronal, findings_page

SHOWN = 10
OF_ONE_KIND = 2
DIGITS = 4


def write_worst(path: Path, findings: Sequence[Finding], items: Sequence[Item]) -> None:
    """Write ``worst.png``: the heaviest findings, at most two of a kind, with their scans or images."""
    by_name = {item.name: item for item in items}
    shown = choose(findings)
    title = f"{len(shown)} of {len(findings)} findings, the heaviest of each kind" if findings else "Audit"
    rows = [Row(KINDS[one.kind].summary, _lines(one), _pictures(one, by_name)) for one in shown]
    findings_page(path, rows, title=title, window_hu=HU_WINDOWS["thesis"])


def choose(findings: Sequence[Finding]) -> list[Finding]:
    """The first findings of the list: at most two of a kind, and of each pair the heaviest only."""
    seen: Counter[str] = Counter()
    chosen: dict[tuple[str, str], Finding] = {}
    for one in findings:
        pair = (one.case, one.other or one.kind)
        if pair not in chosen and seen[one.kind] < OF_ONE_KIND and len(chosen) < SHOWN:
            seen[one.kind] += 1
            chosen[pair] = one
    return list(chosen.values())


def _lines(finding: Finding) -> list[str]:
    value, limit = (
        f"{one:.{DIGITS}g}" if isinstance(one, float) else str(one) for one in (finding.value, finding.limit)
    )
    lines = [finding.severity, finding.case, f"{finding.measure}: {value}"]
    return [*lines, f"limit {limit}"] if limit else lines


def _pictures(finding: Finding, by_name: Mapping[str, Item]) -> list[Picture]:
    """The two things of a pair, or of one scan the slice that shows the finding and the coronal plane."""
    named = [by_name[name] for name in (finding.case, finding.other) if name in by_name]
    found: list[Picture] = []
    for item in named:
        try:
            volume = to_canonical(item.load())
        except InputError:
            continue
        spacing = volume.grid.spacing_mm_zyx
        z = len(volume.hu) // 2 if finding.z_index is None else finding.z_index
        boxes = [] if item.is_scan else [(*one.low, *one.high) for one in item.markings]
        found.append(axial(volume.hu, min(z, len(volume.hu) - 1), spacing, item.name, boxes))
        if len(named) == 1 and item.is_scan:
            found.append(coronal(volume.hu, spacing, "coronal"))
    return found
