"""``nodules.csv`` of found nodules: a LUNA16 submission with our columns behind."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lungct.inference.nodule import FoundNodule
from lungct.io import atomic
from lungct.registry import NODULE_SCORES

SUBMISSION = ("seriesuid", "coordX", "coordY", "coordZ", "probability")
COLUMNS = (
    *SUBMISSION,
    "nodule",
    "category",
    "w",
    "h",
    "d",
    "diameter_mm",
    "slice_first",
    "slice_last",
    "slices",
    "score_peak",
    "score_mean",
    "score_fused",
    "side",
)
"""The LUNA16 submission's columns, then ours; mm, LPS; slices as the record of the scan in the manifest counts them."""


def row_of(nodule: FoundNodule, number: int, categories: Mapping[int, str], by: str = NODULE_SCORES[0]) -> list[Any]:
    """The cells of one nodule, the ``number``-th of its scan; mm to 1e-4, scores to 1e-6."""
    place = [round(value, 4) + 0.0 for value in nodule.center_lps_mm]
    size = [round(value, 4) for value in (*nodule.size_mm, nodule.diameter_mm)]
    scores = [round(nodule.by(name), 6) for name in (by, *NODULE_SCORES)]
    slices = (nodule.slices[0], nodule.slices[-1], in_words(nodule.slices))
    category = categories.get(nodule.label, str(nodule.label))
    return [nodule.case_id, *place, scores[0], number, category, *size, *slices, *scores[1:], nodule.side]


def write_found(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write the rows of :func:`row_of`."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    atomic.write_bytes(path, stream.getvalue().encode())


def in_words(slices: Sequence[int]) -> str:
    """Rising numbers with runs drawn together: ``3-5 7``."""
    runs: list[list[int]] = []
    for one in slices:
        if runs and one == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], one]
        else:
            runs.append([one, one])
    return " ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
