"""Which copies to leave out, as published for cleaning CT slices: of copies with the same label one is kept; of copies
with different labels all are dropped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

from lungct.audit.duplicates import Link, rank, same_label
from lungct.audit.items import Item


def left_out(items: Sequence[Item], links: Sequence[Link]) -> dict[int, str]:
    """Which items the rule leaves out, and why: of copies with one label all but one, of others all.

    A near copy is left out only where the one that it is a copy of stays.
    """
    exact: dict[int, list[int]] = defaultdict(list)
    for link in links:
        if link.kind == "exact-duplicate":
            exact[link.kept].append(link.left)
    out: dict[int, str] = {}
    for kept, others in exact.items():
        whole = [kept, *others]
        one_label = all(same_label(items[a], items[b]) for a, b in combinations(whole, 2))
        reason = f"the same voxels as {items[kept].name}"
        out |= dict.fromkeys(others, reason) if one_label else dict.fromkeys(whole, f"{reason}, other labels")
    near = [link for link in links if link.kind == "near-duplicate"]
    for link in near:
        if not same_label(items[link.kept], items[link.left]):
            for place in (link.kept, link.left, *exact[link.kept], *exact[link.left]):
                out.setdefault(place, "near copies with different labels")
    for link in sorted(near, key=lambda link: rank(link.left, items)):
        if link.kept not in out:
            for place in (link.left, *exact[link.left]):
                out.setdefault(place, f"all but the same as {items[link.kept].name}")
    return out
