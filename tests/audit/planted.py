"""Items of voxels in memory, and audits of them without any file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungct.audit.duplicates import find_links
from lungct.audit.finding import Finding
from lungct.audit.items import Item, Marking
from lungct.audit.judge import judge
from lungct.audit.measure import measure_items
from lungct.preprocessing.cases import Running
from lungct.types import Grid, Volume


def scan(name: str, volume: Volume, **facts: Any) -> Item:
    """A scan of its own patient in data set 1, unless said otherwise."""
    item = Item(name, 1, name, name, f"patient of {name}", "", lambda: volume, is_scan=True)
    return replace(item, **facts)


def image(name: str, hu: NDArray[Any], **facts: Any) -> Item:
    """The same of a (Y, X) image."""
    volume = Volume(hu[np.newaxis], Grid((1, *hu.shape), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)))
    return replace(scan(name, volume), is_scan=False, **facts)


def box(x: float, y: float, side: float = 10.0, label: str = "nodule", **facts: Any) -> Marking:
    """A square box with a corner at (x, y) px."""
    known = {"nodule_id": "", "malignant": None, "malignancy": None, **facts}
    return Marking(label=label, low=(x, y), high=(x + side, y + side), **known)


def found_in(items: Sequence[Item], percentile: float = 98) -> list[Finding]:
    """All findings, heaviest first."""
    items = list(items)
    measured = measure_items(items, Running())
    return judge(items, measured, find_links(items, measured), percentile)


def kinds(findings: Sequence[Finding]) -> list[str]:
    """Their kinds."""
    return [one.kind for one in findings]
