"""Slices without a nodule: drawn from the lung, or told by a list of false positives; never near a nodule."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungct.ct.boxes import Footprint
from lungct.ct.lung import lung_slices
from lungct.errors import InputError
from lungct.preprocessing.cases import Record
from lungct.registry import NEGATIVE_DISTANCE_MM, UNMEASURED_DIAMETER_MM
from lungct.types import BoolArray, Grid, Scan

logger = logging.getLogger("lungct")


@dataclass(frozen=True, eq=False)
class Surroundings:
    """A scan on its grid and the nodules on it: what decides where a slice is a negative one.

    Attributes:
        hu: (Z, Y, X).
        places: of the nodules whose box meets the scan.
    """

    scan: Scan
    hu: NDArray[Any]
    grid: Grid
    places: Sequence[Footprint]

    def is_far(self) -> BoolArray:
        """(Z,) whether a slice plane is at least 10 mm from every nodule.

        A finding that counts neither way but was measured is a nodule in some reader's eyes: it is kept clear of too.
        One that nobody measured only keeps away the slices that it may show on, for LUNA16 has some 34 in each scan.
        """
        spacing_mm = self.grid.spacing_mm_zyx[0]
        reaches = [(place.center_index[2], place.half_index[2], NEGATIVE_DISTANCE_MM) for place in self.places]
        for finding in self.scan.excluded:
            measured = finding.diameter_mm > 0
            half_mm = (finding.diameter_mm if measured else UNMEASURED_DIAMETER_MM) / 2
            center = float(self.grid.to_index(finding.center_lps_mm)[2])
            reaches.append((center, half_mm / spacing_mm, NEGATIVE_DISTANCE_MM if measured else 0.0))
        z = np.arange(len(self.hu))
        far = np.ones(len(z), dtype=bool)
        for center, half, least_mm in reaches:
            far &= (np.abs(z - center) - half) * spacing_mm >= least_mm
        return far


def draw_negatives(where: Surroundings, count: int, seed: int, excluded: Sequence[int] = ()) -> list[int]:
    """At most ``count`` lung slices far from nodules, by seed and case id, rising.

    None of a scan whose nodules nobody has looked for. Excluding a slice leaves the other draws as they are.
    """
    if not count or not where.scan.truth_known:
        return []
    eligible = np.flatnonzero(lung_slices(where.hu, where.grid) & where.is_far())
    key = int.from_bytes(hashlib.blake2b(where.scan.case_id.encode(), digest_size=8).digest(), "big")
    drawn = np.random.default_rng([seed, key]).permutation(eligible)
    return sorted(drawn[~np.isin(drawn, excluded)][:count].tolist())


def hard_negatives(where: Surroundings, listed: Sequence[int]) -> list[int]:
    """Of the slices that a list of false positives names those that are far from nodules, rising.

    A detection on a scan of unknown truth may be right, so such a scan has none.

    Raises:
        InputError: a slice beyond the scan's last.
    """
    if listed and max(listed) >= len(where.hu):
        problem = f"slice {max(listed)} is on the list of hard negatives, the scan has {len(where.hu)}"
        raise InputError(f"{where.scan.case_id}: {problem}", "were they found on slices of another spacing?")
    if not where.scan.truth_known:
        return []
    far = where.is_far()
    return sorted(z for z in listed if far[z])


def report_refused(path: Path, records: Sequence[Record]) -> None:
    """Warn of listed slices that did not become negatives."""
    listed, kept = (sum(record[key] for record in records) for key in ("hard_listed", "hard_negatives"))
    if kept < listed:
        why = f"within {NEGATIVE_DISTANCE_MM:g} mm of a nodule, on a finding, or of a scan without known truth"
        logger.warning("%s: %d of %d hard negatives left out: %s", path, listed - kept, listed, why)
