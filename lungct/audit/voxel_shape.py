"""Spacing and orientation of a scan: slices far apart or not axial, oblique axes, odd voxels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from lungct.audit.finding import Finding
from lungct.types import Grid, Triple

THICKEST_MM = 2.5
"""Source: LUNA16 left out LIDC-IDRI scans of slices thicker than 2.5 mm (Setio et al. 2017)."""
MOST_OBLIQUE_DEG = 15.0
SQUARE_WITHIN = 0.02
ROUNDING_MM = 1e-3
"""NIfTI headers hold spacings as float32."""
OUTLIER_Z = 3.5
"""Source: the modified z-score of Iglewicz & Hoaglin 1993, .6745 (x - median) / MAD, and their limit."""
OUTLIER_FACTOR = 1.5
FEWEST_SCANS = 8


def measure(grid: Grid, input_spacing_mm_zyx: Triple | None) -> dict[str, float]:
    """Spacing of the raw scan where it is known, else of this one; angles of the axes as they are stored."""
    direction = np.abs(grid.direction_matrix)
    z_mm, y_mm, x_mm = input_spacing_mm_zyx or grid.spacing_mm_zyx
    return {
        "slice_mm": float(z_mm),
        "row_mm": float(y_mm),
        "column_mm": float(x_mm),
        "slice_axis": float(np.argmax(direction[:, 2])),
        "oblique_deg": float(np.degrees(np.arccos(np.clip(direction.max(axis=0).min(), 0, 1)))),
    }


def judge(name: str, facts: Mapping[str, float]) -> Iterator[Finding]:
    """Findings of one scan."""
    if facts["slice_mm"] > THICKEST_MM + ROUNDING_MM:
        yield Finding("thick-slices", name, "slice spacing, mm", facts["slice_mm"], THICKEST_MM)
    if facts["slice_axis"] != 2:
        plane = ("sagittal", "coronal")[int(facts["slice_axis"])]
        yield Finding("not-axial", name, "plane of the stored slices", plane, "axial")
    if facts["oblique_deg"] > MOST_OBLIQUE_DEG:
        yield Finding(
            "oblique", name, "angle of an axis to the body's, degrees", facts["oblique_deg"], MOST_OBLIQUE_DEG
        )
    square = facts["column_mm"] / facts["row_mm"]
    if abs(square - 1) > SQUARE_WITHIN:
        yield Finding("anisotropy", name, "column over row spacing", square, f"1 +- {SQUARE_WITHIN}")


def judge_all(facts: Mapping[str, Mapping[str, float]]) -> Iterator[Finding]:
    """Scans whose slice spacing over pixel spacing lies far from that of the others."""
    shapes = {name: one["slice_mm"] / one["row_mm"] for name, one in facts.items()}
    if len(shapes) < FEWEST_SCANS:
        return
    logs = np.log(list(shapes.values()))
    middle = float(np.median(logs))
    spread = float(np.median(np.abs(logs - middle)))
    reach = max(OUTLIER_Z * spread / 0.6745, float(np.log(OUTLIER_FACTOR)))
    low, high = (float(np.exp(middle + side * reach)) for side in (-1, 1))
    for name, shape in shapes.items():
        if not low <= shape <= high:
            yield Finding("anisotropy", name, "slice over row spacing", shape, f"{low:.2f} to {high:.2f}")
