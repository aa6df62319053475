"""An audit from the paths to the folder: read, measure, compare, judge, write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lungct.audit import duplicates
from lungct.audit.duplicates import Link
from lungct.audit.finding import Finding
from lungct.audit.items import Item, read_items
from lungct.audit.judge import judge
from lungct.audit.measure import Measured, measure_items
from lungct.audit.resolve import left_out
from lungct.audit.tables import data_sets_of, exclude_txt, findings_csv, measures_csv, summary_of
from lungct.audit.worst import write_worst
from lungct.io.atomic import check_replaceable, staged_folder, write_bytes, write_json
from lungct.io.manifest import write_manifest
from lungct.preprocessing.cases import Running
from lungct.registry import NOISE_PERCENTILE
from lungct.sources.source import SourceOptions

EXCLUDE = "exclude.txt"


@dataclass(frozen=True)
class AuditOptions:
    """How an audit is done.

    Attributes:
        source: layout of the first path, if it is a raw source; None finds it.
        duplicates: ``report`` them, or ``resolve`` by also listing what to leave out.
        noise: the same for the noisiest images.
        noise_percentile: of the Laplacian variance, above which an image is one of them.
        reading: what the files of a raw 2D source do not say.
    """

    source: str | None = None
    duplicates: str = "report"
    noise: str = "report"
    noise_percentile: float = NOISE_PERCENTILE
    reading: SourceOptions = field(default_factory=SourceOptions)

    def record(self) -> dict[str, Any]:
        """JSON-ready, without the secret behind pseudonyms."""
        stated = asdict(self)
        del stated["reading"]["naming"]
        return stated


@dataclass(frozen=True)
class Audit:
    """What was found."""

    summary: dict[str, Any]
    findings: Sequence[Finding]


def read_all(paths: Sequence[Path], options: AuditOptions) -> list[Item]:
    """Every scan and image of all paths; with several their numbers stand before the names.

    Raises:
        InputError: see :func:`lungct.audit.items.read_items`.
    """
    items: list[Item] = []
    for number, path in enumerate(paths, 1):
        source = options.source if number == 1 else None
        items += read_items(path, number, source, options.reading, prefix=f"{number}/" if len(paths) > 1 else "")
    return items


def plan(paths: Sequence[Path], out: Path, options: AuditOptions, *, overwrite: bool = False) -> dict[str, Any]:
    """What would be looked at, reading no voxels and writing nothing.

    Raises:
        InputError: see :func:`read_all`.
        OutputExists: ``out`` is there.
    """
    check_replaceable(out, overwrite=overwrite, command="audit")
    return {"data_sets": data_sets_of(read_all(paths, options))}


def audit(
    paths: Sequence[Path], out: Path, options: AuditOptions = AuditOptions(), running: Running = Running()
) -> Audit:
    """Look at every scan and image of the paths, alone and against each other, and write the ``audit/`` folder.

    Raises:
        InputError: a path that holds nothing known, a broken table; a scan that cannot be read is a finding.
        OutputExists: ``out`` is there and ``running.overwrite`` is false.
    """
    check_replaceable(out, overwrite=running.overwrite, command="audit")
    items = read_all(paths, options)
    measured = _measure(items, running)
    links = duplicates.find_links(items, measured, running.progress)
    findings = judge(items, measured, links, options.noise_percentile)
    reasons = _reasons(items, links, findings, options)
    summary = summary_of(items, findings, options.record(), reasons)
    with staged_folder(out, command="audit", overwrite=running.overwrite) as folder:
        write_bytes(folder / "findings.csv", findings_csv(findings), durable=False)
        write_bytes(folder / "measures.csv", measures_csv(items, [one.facts for one in measured]), durable=False)
        write_json(folder / "summary.json", summary, indent=1)
        if "resolve" in (options.duplicates, options.noise):
            _write_exclude(folder, items, reasons)
        write_worst(folder / "worst.png", findings, items)
        write_manifest(folder, "audit", options.record())
    return Audit(summary, findings)


def _measure(items: Sequence[Item], running: Running) -> list[Measured]:
    """Of scans first and then of images, each kind with its own progress; in the order of the items."""
    found: dict[str, Measured] = {}
    for is_scan in (True, False):
        mine = [item for item in items if item.is_scan == is_scan]
        found |= zip((item.name for item in mine), measure_items(mine, running), strict=True)
    return [found[item.name] for item in items]


def _reasons(
    items: Sequence[Item], links: Sequence[Link], findings: Sequence[Finding], options: AuditOptions
) -> dict[int, str]:
    """Place of what the chosen rules leave out -> why."""
    out = left_out(items, links) if options.duplicates == "resolve" else {}
    if options.noise == "resolve":
        noisy = {one.case for one in findings if one.kind == "noise"}
        for place, item in enumerate(items):
            if item.name in noisy:
                out.setdefault(place, "among the noisiest")
    return out


def _write_exclude(folder: Path, items: Sequence[Item], reasons: dict[int, str]) -> None:
    """``exclude.txt`` of the first data set, ``exclude-2.txt`` of the second."""
    for number in sorted({item.data_set for item in items}):
        mine = {place: reason for place, reason in reasons.items() if items[place].data_set == number}
        name = EXCLUDE if number == 1 else EXCLUDE.replace(".", f"-{number}.")
        write_bytes(folder / name, exclude_txt(items, mine), durable=False)
