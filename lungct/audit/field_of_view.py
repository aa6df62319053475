"""Whether the field of view cuts the body: how much of its edge is tissue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungct.audit.finding import Finding
from lungct.types import BoolArray, Volume

TISSUE_HU = -500
EDGE_PX = 2
SLICES = 16
LIMIT = 0.3
"""Of the 780 LUNA16 slices looked at, a tenth are above: there chest wall is cut on both sides."""


def measure(volume: Volume) -> dict[str, float]:
    """Median over up to 16 slices of the share of the field's edge that is tissue."""
    hu = volume.hu[np.unique(np.linspace(0, len(volume.hu) - 1, min(SLICES, len(volume.hu))).astype(int))]
    seen = ~_padding(hu)
    edge = seen & ~ndimage.binary_erosion(seen, iterations=EDGE_PX)
    return {"tissue_at_edge": float(np.median((hu[:, edge] > TISSUE_HU).mean(axis=1)))}


def _padding(hu: NDArray[Any]) -> BoolArray:
    """(Y, X) what scanners fill the corners outside a round field with: one low value that reaches all four corners."""
    corners = hu[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    value = corners.flat[0]
    if value > TISSUE_HU or (corners != value).any():
        return np.zeros(hu.shape[1:], dtype=bool)
    labels, _ = ndimage.label((hu == value).all(axis=0))
    filled: BoolArray = np.isin(labels, labels[[0, 0, -1, -1], [0, -1, 0, -1]])
    # A field without padding has air at its corners, of one value only where HU are clipped.
    return filled & (labels > 0) if 0.1 < filled.mean() < 0.3 else np.zeros_like(filled)


def judge(name: str, facts: Mapping[str, float]) -> Iterator[Finding]:
    """A finding where three tenths of the edge or more are tissue."""
    if facts["tissue_at_edge"] >= LIMIT:
        yield Finding(
            "truncated-field", name, "share of the field's edge that is tissue", facts["tissue_at_edge"], LIMIT
        )
