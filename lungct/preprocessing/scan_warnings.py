"""What the records of preprocessed scans leave to be wished, said aloud."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from lungct.ct.frame import likely_by_tissue
from lungct.preprocessing.cases import Record
from lungct.preprocessing.lungs import warn_of_lungs
from lungct.registry import CSV_FRAMES

logger = logging.getLogger("lungct")


def warn_of_scans(records: Sequence[Record], csv_frame: str) -> None:
    """Warn of each scan, then of the table that its nodules come from; ``csv_frame`` is what that is said to be in."""
    for record in records:
        warn_of_lungs(record)
        _warn_of_case(record["case_id"], record["qc"])
    _warn_of_air([record["qc"]["nodules_in_tissue"] for record in records], csv_frame)


def _warn_of_case(case_id: str, qc: Mapping[str, Any]) -> None:
    for nodule_id in qc["nodules_outside"]:
        logger.warning("%s: the centre of nodule %s lies outside the scan", case_id, nodule_id)
    if qc["filled_slices"]:
        of = qc["input_shape"][2]
        logger.warning("%s: %d of %d slices missing and interpolated", case_id, len(qc["filled_slices"]), of)
    for nodule_id in qc["nodules_on_filled"]:
        logger.warning("%s: nodule %s reaches slices that are interpolated", case_id, nodule_id)


def _warn_of_air(counts: Sequence[Mapping[str, int]], csv_frame: str) -> None:
    """Where most centres lie in air, or another frame puts nearly all of them into tissue, the whole table is off."""
    total = {name: sum(one[name] for one in counts) for name in ("nodules", *CSV_FRAMES)}
    nodules = total.pop("nodules")
    likely = likely_by_tissue(total, nodules, csv_frame)
    problem = f"{nodules - total[csv_frame]} of {nodules} nodule centres lie in lung or air, not in tissue"
    if likely:
        hint = f"with --csv-frame {likely} it would be {nodules - total[likely]}"
        logger.warning("%s; %s", problem, hint)
    elif total[csv_frame] < nodules / 2:
        logger.warning("%s; are the boxes of other scans, or the voxels not HU?", problem)
