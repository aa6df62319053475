"""What a manifest of ours says of scans that no CSV row speaks of: patient, split, source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lungct.io.atomic import MANIFEST
from lungct.io.manifest import RUN_SCHEMA, SCAN_SCHEMA, grid_of, read_manifest
from lungct.sources.pseudonym import Naming
from lungct.types import Grid, Scan

SCANS = "scans"


def naming_of(path: Path, naming: Naming) -> Naming:
    """Names in a folder with a manifest of ours, or in its ``scans/``, are names already."""
    folder = path if path.is_dir() else path.parent
    near = (folder, folder.parent) if folder.name == SCANS else (folder,)
    return replace(naming, keep_ids=True) if any(map(_is_ours, near)) else naming


def _is_ours(folder: Path) -> bool:
    return (folder / MANIFEST).is_file() and read_manifest(folder)[0].get("schema") == RUN_SCHEMA


def told(scans: tuple[Scan, ...], folder: Path) -> tuple[Scan, ...]:
    """The scans with the facts of ``folder``'s manifest, if it has one, where their rows say nothing.

    Raises:
        InputError: a manifest that is not readable.
    """
    if not (folder / MANIFEST).is_file():
        return scans
    facts = {one["case_id"]: one for one in read_manifest(folder) if one.get("schema") == SCAN_SCHEMA}
    return tuple(_told(scan, facts.get(scan.case_id, {})) for scan in scans)


def _told(scan: Scan, facts: Mapping[str, Any]) -> Scan:
    """A scan with a row has a known truth, whatever the manifest says."""
    return replace(
        scan,
        patient_id=scan.patient_id if scan.nodules else str(facts.get("patient_id", scan.patient_id)),
        split=scan.split or str(facts.get("split", "")),
        source=str(facts.get("source", scan.source)),
        truth_known=bool(scan.nodules) or bool(facts.get("truth_known", scan.truth_known)),
        attributes=scan.attributes or dict(facts.get("attributes", {})),
        source_grid=_grid(facts.get("source_grid")),
    )


def _grid(facts: Mapping[str, Any] | None) -> Grid | None:
    """The grid of the scan before preprocessing; None in a manifest that says nothing of it, or nothing whole."""
    try:
        return None if facts is None else grid_of(facts)
    except (KeyError, TypeError, ValueError):
        return None
