"""Labels that contradict each other: of one nodule over its slices, and of boxes in one place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations

from lungct.audit.finding import Finding
from lungct.audit.items import Item, Marking

SAME_PLACE_IOU = 0.5
"""Intersection over union of area or volume from which two boxes are of one nodule, as in COCO and VOC matching."""


def findings(items: Sequence[Item]) -> Iterator[Finding]:
    """Nodules with several labels, and boxes of one item that lie on each other."""
    yield from _nodules(items)
    for item in items:
        for one, other in combinations(item.markings, 2):
            shared = iou(one, other)
            if shared >= SAME_PLACE_IOU:
                kind = "box-conflict" if one.contradicts(other) else "repeated-box"
                named = f"{one.says()}; {other.says()}"
                yield Finding(kind, item.name, f"IoU of boxes ({named})", shared, SAME_PLACE_IOU)


def _nodules(items: Sequence[Item]) -> Iterator[Finding]:
    """Every nodule of a scan whose markings, over slices and splits, cannot be of one."""
    found: dict[tuple[int, str, str], list[tuple[str, Marking]]] = defaultdict(list)
    for item in items:
        for marking in item.markings:
            if marking.nodule_id:
                found[item.data_set, item.case_id, marking.nodule_id].append((item.name, marking))
    for (_, _, nodule_id), marked in found.items():
        first_name, first = marked[0]
        for name, marking in marked[1:]:
            if marking.contradicts(first):
                said = f"{marking.says()}; {first.says()}"
                yield Finding("nodule-conflict", name, f"labels of nodule {nodule_id}", said, "one label", first_name)


def iou(one: Marking, other: Marking) -> float:
    """Intersection over union of two boxes of as many axes."""
    shared = area = other_area = 1.0
    for low, high, other_low, other_high in zip(one.low, one.high, other.low, other.high, strict=True):
        shared *= max(0.0, min(high, other_high) - max(low, other_low))
        area *= high - low
        other_area *= other_high - other_low
    whole = area + other_area - shared
    return shared / whole if whole > 0 else 0.0


def boxes_agree(markings: Sequence[Marking], others: Sequence[Marking]) -> bool:
    """Whether each box of one has a box of the other in its place."""
    if len(markings) != len(others):
        return False
    free = list(others)
    for marking in markings:
        best = max(free, key=lambda other: iou(marking, other))
        if iou(marking, best) < SAME_PLACE_IOU:
            return False
        free.remove(best)
    return True
