"""How many heatmaps mean little, and why: counted from the lines of an explanation's index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

INDEX = "index.ndjson"
MOSTLY_LOST = 0.5


def flagged(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is wrong with the maps of one method: how many have which flag, and how often the detection vanished.

    ``vanished_share`` is the mean share of changed images on which the box was not found again, None for methods that
    change no image; ``mostly_vanished`` counts the maps for which it was over a half.
    """
    lost = [row["lost_fraction"] for row in rows if row.get("lost_fraction") is not None]
    return {
        "maps": len(rows),
        "flags": dict(sorted(Counter(filter(None, map(_flag, rows))).items())),
        "vanished_share": round(float(np.mean(lost)), 6) if lost else None,
        "mostly_vanished": sum(one > MOSTLY_LOST for one in lost),
    }


def _flag(row: Mapping[str, Any]) -> str:
    return "zero gradient" if row.get("zero_gradient") else str(row.get("flag") or "")


def flags_in_words(found: Mapping[str, Any]) -> str:
    """``3 zero, 1 nan``, or ``none``."""
    return ", ".join(f"{count} {flag}" for flag, count in found["flags"].items()) or "none"
