"""Patients and scans that stand in two splits, and scans that stand in two data sets, such as LUNA16 in LIDC-IDRI.

Names of series are pseudonyms of their UID: under one key the same series has the same name wherever it comes from.
Between data sets a name is trusted where the voxels of two scans of that name are copies; where they cannot be compared
(slices against scans, other slices of a series) it is trusted unless it is plain numbering or the name of a file.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from lungct.audit.duplicates import Link, split_of
from lungct.audit.finding import Finding
from lungct.audit.items import Item
from lungct.registry import SPLITS

_NUMBERING = re.compile(
    r"(image-[0-9a-f]{10}|(phantom|case|scan|ct|image|img|patient|subject|sub|volume|vol|series)?[_-]?\d{1,5}([_/]\d+)*)",
    re.IGNORECASE | re.ASCII,
)
"""Names that two data sets may well give to different things."""


def findings(items: Sequence[Item], links: Sequence[Link]) -> Iterator[Finding]:
    """Leaks by series and by patient, overlap of data sets, and one name for several scans."""
    trusted, apart = _trusted_cases(items, links)
    for case, scans in apart.items():
        yield Finding("same-name", scans[1].name, f"different scans called {case}", len(scans), 1, scans[0].name)
    series = _groups(items, lambda item: (item.case_id, item.case_id in trusted))
    for group in series:
        yield from _of_series(group)
    leaking = {item.name for group in series if len(_splits(group)) > 1 for item in group}
    whole = [item for item in items if item.name not in leaking]
    for group in _groups(whole, lambda item: (item.patient_id, not _NUMBERING.fullmatch(item.patient_id))):
        if len(splits := _splits(group)) > 1:
            first, other = list(splits.values())[:2]
            measure = f"splits of a patient, {first.name} in the first"
            yield Finding("leak-patient", first.patient_id, measure, ", ".join(splits), "one split", other.name)


def _of_series(group: Sequence[Item]) -> Iterator[Finding]:
    first, splits = group[0], _splits(group)
    sets = sorted({item.data_set for item in group})
    if len(splits) > 1:
        one, other = list(splits.values())[:2]
        yield Finding("leak-series", one.name, "splits", ", ".join(splits), "one split", other.name)
    elif len(sets) > 1:
        other = next(item for item in group if item.data_set != first.data_set)
        yield Finding("overlap", other.name, "data sets that hold it", ", ".join(map(str, sets)), "one", first.name)


def _trusted_cases(items: Sequence[Item], links: Sequence[Link]) -> tuple[set[str], dict[str, list[Item]]]:
    """Case ids that mean one scan in all data sets, and those whose scans were compared and are no copies."""
    scans: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        if item.is_scan:
            scans[item.case_id].append(item)
    pairs = [(items[link.kept], items[link.left]) for link in links]
    copies = {one.case_id for one, other in pairs if one.case_id == other.case_id and one.data_set != other.data_set}
    several = {case: found for case, found in scans.items() if len({item.data_set for item in found}) > 1}
    apart = {case: found for case, found in several.items() if case not in copies}
    named = {item.case_id for item in items if not _NUMBERING.fullmatch(item.case_id)}
    return copies | (named - apart.keys()), apart


def _groups(items: Sequence[Item], key: Callable[[Item], tuple[str, bool]]) -> list[list[Item]]:
    """Items of one name, over all data sets where the name is trusted and within each elsewhere."""
    groups: dict[tuple[str, int], list[Item]] = defaultdict(list)
    for item in items:
        name, trusted = key(item)
        groups[name, 0 if trusted else item.data_set].append(item)
    return list(groups.values())


def _splits(group: Sequence[Item]) -> dict[str, Item]:
    """Each split that a group stands in, with the first item that does."""
    found: dict[str, Item] = {}
    for item in group:
        if split_of(item):
            found.setdefault(split_of(item), item)
    return {name: found[name] for name in SPLITS if name in found}
