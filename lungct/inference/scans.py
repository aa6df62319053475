"""Whole scans through a detector: each scan's slices, nodules and pictures, then the tables of all."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungct.errors import InputError, LungctError
from lungct.inference.dicom_found import check_dicom, write_dicom
from lungct.inference.ensemble import Ensemble
from lungct.inference.found_csv import row_of, write_found
from lungct.inference.link import link
from lungct.inference.nodule import FoundNodule
from lungct.inference.options import PredictOptions
from lungct.inference.outliers import without_outliers
from lungct.inference.read_ahead import ReadAhead
from lungct.inference.scan_outputs import with_sides, write_scan_labels, write_sheet
from lungct.inference.scan_view import BODY, Batch, Grids, ViewOptions, scan_view
from lungct.inference.scoring import Scoring
from lungct.inference.searched import TOLERANCE_MM
from lungct.inference.windows import Window, body_window, in_slice
from lungct.io import atomic
from lungct.io.case_lists import slice_name
from lungct.io.coco import detection_rows
from lungct.io.manifest import files_of, write_manifest
from lungct.preprocessing.cases import Ledger, Record
from lungct.preprocessing.input_key import said_of_scan, scan_key
from lungct.registry import LABEL_SHAPES
from lungct.types import Detections, Progress, Scan

logger = logging.getLogger("lungct")

RESULTS = "detections.json"
NODULES = "nodules.csv"
RECORD_SCHEMA = "lungct.found/1"


@dataclass(frozen=True)
class Found:
    """What came of all scans: slices, detections, nodules; names of the scans; ``case: reason`` of those left out."""

    slices: int
    detections: int
    nodules: int
    scans: tuple[str, ...]
    failed: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ScanSearch:
    """Searches scans and writes a folder.

    Attributes:
        lungs: folder of lung masks, where the source has one.
        stated: what decides the output, for the manifest and for ``--resume``.
    """

    model: Ensemble
    options: PredictOptions
    scoring: Scoring
    lungs: Path
    stated: Mapping[str, Any]
    progress: Progress

    def run(self, scans: Sequence[Scan], out: Path, *, overwrite: bool) -> Found:
        """Search the scans of this shard.

        Raises:
            InputError: a scan that cannot be read; under ``keep_going`` only where every scan fails.
            OutputExists: the output must not be written.
            UsageError, EnvironmentError_: see :func:`~lungct.inference.dicom_found.check_dicom`.
        """
        shard, resume = self.options.shard, self.options.resume
        mine = shard.part(scans)
        if self.options.outputs.dicom:
            check_dicom(mine)
        with atomic.staged_folder(out, command="predict", overwrite=overwrite, resume=resume) as folder:
            ledger = Ledger.of(folder, self.stated)
            done, failed = self._all(mine, ledger)
            if not done and shard.is_whole:
                raise InputError(f"every scan failed; the first: {failed[0]}")
            records = [one["record"] for one in done]
            ledger.close(name for record in records for name in files_of(record))
            atomic.write_json(folder / RESULTS, [row for one in done for row in one["detections"]])
            write_found(folder / NODULES, [row for one in done for row in one["nodules"]])
            names = ([one.case_id for one in scans], [one["case_id"] for one in records])
            facts = shard.facts(names[0], [said_of_scan(one) for one in scans], names[1])
            write_manifest(folder, "predict", self.stated, records, shard=facts)
        totals = {name: sum(one[name] for one in records) for name in ("detections", "nodules")}
        slices = sum(one["looked_at"] for one in records)
        return Found(slices, **totals, scans=tuple(names[1]), failed=tuple(failed))

    def _all(self, scans: Sequence[Scan], ledger: Ledger) -> tuple[list[Record], list[str]]:
        found: dict[str, Record] = {}
        if self.options.resume:
            kept = {one.case_id: ledger.finished(one.case_id, self._key(one)) for one in scans}
            found = {name: record for name, record in kept.items() if record is not None}
        failed: dict[str, str] = {}
        left = [one for one in scans if one.case_id not in found]
        for scan, view in ReadAhead(left, self._view, self.options.workers):
            self.progress("scans", len(found) + len(failed), len(scans))
            try:
                record = self._one(scan, view, ledger.staging)
            except LungctError as problem:
                if not self.options.keep_going:
                    raise
                failed[scan.case_id] = str(problem)
                continue
            ledger.store(scan.case_id, self._key(scan), record, files_of(record["record"]))
            found[scan.case_id] = record
        self.progress("scans", len(scans), len(scans))
        lines = [f"{one.case_id}: {failed[one.case_id]}" for one in scans if one.case_id in failed]
        return [found[one.case_id] for one in scans if one.case_id in found], lines

    def _key(self, scan: Scan) -> str:
        mask = self.lungs / f"{scan.case_id}.nii.gz"
        return scan_key(scan, (mask,) if mask.is_file() else ())

    def _view(self, scan: Scan) -> Iterator[Grids | Batch]:
        model, options = self.model, self.options
        how = ViewOptions(model.in_channels, options.batch, options.searched, options.within, options.override)
        return scan_view(scan, model.card, how)

    def _one(self, scan: Scan, view: Iterator[Grids | Batch], folder: Path) -> Record:
        grids = next(view)
        assert isinstance(grids, Grids)
        if grids.within != self.options.within:
            logger.warning("%s: no two lungs of a usable size were found, so that the body is searched", scan.case_id)
        found = self._detect(scan.case_id, view, grids)
        if self.options.drop_outliers:
            found = without_outliers(found)
        nodules = self._nodules(scan, found, grids)
        marks = [self.scoring.shown(found[z]) for z in sorted(found)]
        by, outputs = self.options.nodule_score, self.options.outputs
        files = []
        if outputs.labels is not None:
            files.append(write_scan_labels(folder, scan, nodules, grids, outputs.labels))
        if outputs.sheets:
            files.append(write_sheet(folder, scan, nodules, grids, by))
        if outputs.dicom:
            shape = outputs.labels or LABEL_SHAPES[0]
            files += write_dicom(folder, scan, nodules, grids, shape=shape, by=by)
        categories = self.model.card.categories
        return {
            "record": _record(scan, grids, sum(map(len, marks)), len(nodules), files),
            "detections": detection_rows(marks),
            "nodules": [row_of(one, number, categories, by) for number, one in enumerate(nodules, 1)],
        }

    def _detect(self, case_id: str, view: Iterator[Grids | Batch], grids: Grids) -> dict[int, Detections]:
        found: dict[int, Detections] = {}
        done = 0
        for batch in view:
            assert not isinstance(batch, Grids)
            places = [z for z, _ in batch]
            names = [slice_name(case_id, z) for z in places]
            stacked = [one for _, one in batch]
            windows = [self._window(z, one, grids) for z, one in batch]
            options = self.options
            seen = self.model.detect_stacks(
                [one[:, *window] for one, window in zip(stacked, windows, strict=True)],
                ids=names,
                score_threshold=options.score_threshold,
                batch=options.batch,
                amp=options.amp,
            )
            marks = [in_slice(one, window) for one, window in zip(seen, windows, strict=True)]
            found.update({z: mark for z, mark in zip(places, marks, strict=True) if len(mark)})
            done += len(places)
            self.progress(f"slices of {case_id}", done, len(grids.looked_at))
        return found

    @staticmethod
    def _window(z: int, stack: NDArray[np.int16], grids: Grids) -> Window:
        if grids.windows is not None:
            return grids.windows[z]
        if grids.within == BODY:
            return body_window(stack, grids.model.spacing_mm_zyx[:0:-1])
        return slice(0, stack.shape[1]), slice(0, stack.shape[2])

    def _nodules(self, scan: Scan, found: Mapping[int, Detections], grids: Grids) -> list[FoundNodule]:
        """Linked, above the operating point, best first."""
        by, options = self.options.nodule_score, self.options
        linked = link(
            found, grids.model, options.link, join=options.join, case_id=scan.case_id, searched=grids.searched
        )
        kept = [one for one in linked if self.scoring.keeps(one.by(by)) and not self._too_thin(one, grids)]
        kept = [one if self.scoring.shown_by is None else one.calibrated(self.scoring.shown_by) for one in kept]
        kept = with_sides(kept, scan, self.lungs, self.options.outputs.lung_mask)
        return sorted(kept, key=lambda one: (-one.by(by), one.slices, one.box_xyxy_px))

    def _too_thin(self, nodule: FoundNodule, grids: Grids) -> bool:
        ends, searched = (nodule.slices[0], nodule.slices[-1]), grids.searched.z
        slabs = grids.searched.slabs(ends)
        cut_off = ends[0] == searched[0] or ends[1] == searched[-1]
        extent_mm = float(slabs[1, 1] - slabs[0, 0]) * grids.model.spacing_mm_zyx[0]
        return not cut_off and extent_mm < self.options.min_extent_mm - TOLERANCE_MM


def _record(scan: Scan, grids: Grids, detections: int, nodules: int, files: Sequence[str]) -> Record:
    grid, searched = grids.model, grids.searched.z
    return {
        "schema": RECORD_SCHEMA,
        "case_id": scan.case_id,
        "patient_id": scan.patient_id,
        "spacing_mm": list(grid.spacing_mm_zyx[::-1]),
        "origin_mm": list(grid.origin_lps_mm),
        "direction": list(grid.direction),
        "slices": grid.shape_zyx[0],
        **({"searched": list(searched)} if len(searched) < grid.shape_zyx[0] else {}),
        "within": grids.within,
        "looked_at": len(grids.looked_at),
        "detections": detections,
        "nodules": nodules,
        **({"files": list(files)} if files else {}),
    }
