"""Copies among scans and among images: the same voxels whatever the file, all but the same image, shared slices.

*Exact*: equal digests of size and voxels, with HU clipped to -1000..400. *Near*: coarse views that correlate to .95,
then fine views that correlate to .72 after alignment. Slices 1 mm apart are often near copies too: within one scan or
series, where neighbours must be alike, only exact copies are looked for.

Measured on 780 LUNA16 slices: of 300,000 pairs of different series the highest coarse correlation is .91, and of the
243 above .85 the highest fine one .37; of 5,076 coarse pairs of slices of synthetic patients, who are much alike, the
highest fine one is .69. Of 200 slices after a change so many are found: noise of 30 HU all, of 100 HU 94 %; shifts of 2
and 5 pixels 99 %, of 10 pixels 78 %; JPEG of quality 40 all; a matrix of 7/11 all; HU times .9 less 50 all; the window
-1350..150 all; 2 % cut off on all sides 94 %, 4 % cut off 60 %; a mediastinal window none.

*Shared slices*: some slices of two scans have equal digests, as where one is cut out of the other.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np

from lungct.audit.appearance import Planes, fine_likeness, planes_of
from lungct.audit.finding import Finding
from lungct.audit.items import Item
from lungct.audit.labels import boxes_agree
from lungct.audit.measure import Measured
from lungct.audit.neighbours import best_pairs
from lungct.ct.geometry import to_canonical
from lungct.registry import SPLITS
from lungct.types import Progress, no_progress

COARSE_LIMIT = 0.95
FINE_LIMIT = 0.72
THUMBNAILS = 4096
KEPT_FIRST = ("test", "val", "train", "")
"""A copy in the test set stays, so that results remain comparable."""


@dataclass(frozen=True)
class Link:
    """Two items that are copies.

    Attributes:
        kept, left: places of the one that is kept first and of the other.
        kind: ``exact-duplicate`` or ``near-duplicate``.
        likeness: correlation of the fine views; 1 where all voxels are equal.
    """

    kept: int
    left: int
    kind: str
    likeness: float


def find_links(items: Sequence[Item], measured: Sequence[Measured], progress: Progress = no_progress) -> list[Link]:
    """Copies among the scans, and among the images, of all data sets; each copy is linked to the one kept first."""
    links, first = [], []
    for group in _same_voxels(items, measured):
        first.append(group[0])
        links += [Link(group[0], other, "exact-duplicate", 1.0) for other in group[1:]]
    for is_scan in (True, False):
        links += _near([one for one in first if items[one].is_scan == is_scan], items, measured, progress)
    return links


def rank(place: int, items: Sequence[Item]) -> tuple[int, int, str, int, int]:
    """What decides which copy is kept: its split, data set, scan, number of boxes, and then its place."""
    item = items[place]
    return KEPT_FIRST.index(split_of(item)), item.data_set, item.case_id, -len(item.markings), place


def split_of(item: Item) -> str:
    """``train``, ``val`` or ``test`` however the source spells it, empty where it says nothing."""
    return next((name for name in SPLITS if item.split.strip().lower().startswith(name)), "")


def _same_voxels(items: Sequence[Item], measured: Sequence[Measured]) -> list[list[int]]:
    """Items in groups of equal voxels, most groups of one, ordered as they are kept."""
    groups: dict[tuple[bool, bytes], list[int]] = defaultdict(list)
    for place, (item, one) in enumerate(zip(items, measured, strict=True)):
        if one.digest:
            groups[item.is_scan, one.digest].append(place)
    return [sorted(group, key=lambda place: rank(place, items)) for group in groups.values()]


def _near(
    places: Sequence[int], items: Sequence[Item], measured: Sequence[Measured], progress: Progress
) -> Iterator[Link]:
    if len(places) < 2:
        return
    vectors = np.stack([measured[place].coarse for place in places]).astype(np.float32)  # type: ignore[misc]
    cases: dict[tuple[int, str], int] = {}
    group = np.array([cases.setdefault((items[one].data_set, items[one].case_id), len(cases)) for one in places])
    pairs, _ = best_pairs(vectors, group, COARSE_LIMIT, progress)

    @lru_cache(THUMBNAILS)
    def planes(place: int) -> Planes:
        kept = measured[place].planes
        return planes_of(to_canonical(items[place].load()).hu) if kept is None else kept

    for number, pair in enumerate(pairs, 1):
        kept, left = sorted((places[one] for one in pair), key=lambda place: rank(place, items))
        likeness = fine_likeness(planes(kept), planes(left))
        if likeness >= FINE_LIMIT:
            yield Link(kept, left, "near-duplicate", likeness)
        progress("confirming", number, len(pairs))


def findings(items: Sequence[Item], links: Sequence[Link]) -> Iterator[Finding]:
    """Each copy, and what its labels, boxes and splits have against those of the one that is kept."""
    for link in links:
        kept, left = items[link.kept], items[link.left]
        limit = FINE_LIMIT if link.kind == "near-duplicate" else 1.0
        yield Finding(link.kind, left.name, "correlation", link.likeness, limit, kept.name)
        splits = {split_of(kept), split_of(left)}
        if len(splits) == 2 and "" not in splits and kept.patient_id != left.patient_id:
            shown = f"{split_of(left)}, {split_of(kept)}"
            yield Finding("leak-duplicate", left.name, f"splits of {link.kind}s", shown, "one split", kept.name)
        if not same_label(kept, left):
            shown = f"{_shown(left)}; {_shown(kept)}"
            yield Finding("duplicate-conflict", left.name, f"labels of {link.kind}s", shown, "one label", kept.name)
        elif link.kind == "exact-duplicate" and not boxes_agree(kept.markings, left.markings):
            shown = f"{len(left.markings)}; {len(kept.markings)}"
            yield Finding("duplicate-boxes", left.name, "boxes, not at one place", shown, "one place", kept.name)


def same_label(one: Item, other: Item) -> bool:
    """Whether two copies say the same; what is unknown contradicts nothing."""
    labels = one.labels(), other.labels()
    return None in labels or labels[0] == labels[1]


def _shown(item: Item) -> str:
    return " + ".join(item.labels() or ()) or "no nodule"


def shared_slices(items: Sequence[Item], measured: Sequence[Measured]) -> Iterator[Finding]:
    """Pairs of scans of different voxels that have slices in common."""
    holders: dict[bytes, set[int]] = defaultdict(set)
    for place, one in enumerate(measured):
        for digest in one.slice_digests:
            holders[digest].add(place)
    shared = Counter(pair for places in holders.values() for pair in combinations(sorted(places), 2))
    for (first, second), count in shared.items():
        if measured[first].digest != measured[second].digest:
            whole = min(len(measured[place].slice_digests) for place in (first, second))
            yield Finding("shared-slices", items[second].name, f"equal slices of {whole}", count, 0, items[first].name)
