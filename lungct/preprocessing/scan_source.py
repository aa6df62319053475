"""The scans that slices are selected from: which of them, in which split, with what the lists say of their slices."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lungct.errors import InputError
from lungct.io.atomic import MANIFEST
from lungct.io.case_lists import read_case_slices
from lungct.io.manifest import read_manifest
from lungct.preprocessing.cases import Ledger, Outcome, Running, run_cases
from lungct.preprocessing.exclusion import Exclusion
from lungct.preprocessing.images import category_names
from lungct.preprocessing.input_key import said_of_scan
from lungct.preprocessing.negatives import report_refused
from lungct.preprocessing.scan_slices import ScanTask, ScanWork, SelectOptions, report_missed
from lungct.preprocessing.shard import Shard
from lungct.preprocessing.slice_truth import Selected
from lungct.preprocessing.split import refuse_duplicates, splits_of
from lungct.registry import HU_CLIP
from lungct.sources.pseudonym import Naming
from lungct.sources.source import SourceOptions, read_source
from lungct.types import Scan

logger = logging.getLogger("lungct")


@dataclass(frozen=True, eq=False)
class ScanSource:
    """The scans of a folder, without those left out, and every patient's split.

    Attributes:
        hard_negatives: case -> slices that the list of false positives names.
    """

    out: Path
    options: SelectOptions
    cases: Sequence[Scan]
    split_of: Mapping[str, str]
    exclusion: Exclusion
    hard_negatives: Mapping[str, set[int]]
    hu_clip: tuple[int, int]

    @classmethod
    def read(cls, out: Path, options: SelectOptions, naming: Naming) -> ScanSource:
        """Raises InputError: a broken file, raw 2D images, a patient in two splits, lists of other cases."""
        contents = read_source(out, options=SourceOptions(naming=naming))
        if contents.images:
            raise InputError.of(out, "raw 2D slices", "run 'lungct preprocess' on them first")
        known = {scan.case_id for scan in contents.scans}
        exclusion = Exclusion.read(options.exclude)
        exclusion.check(known, out)
        gone = [scan for scan in contents.scans if exclusion.has(scan.case_id)]
        kept = [scan for scan in contents.scans if not exclusion.has(scan.case_id)]
        split_of = splits_of(map(_stated, kept), map(_stated, gone), options.seed, out)
        hard = _hard_negatives(options.hard_negatives, known, out)
        return cls(out, options, kept, split_of, exclusion, hard, _hu_clip(out))

    def run(self, ledger: Ledger, running: Running) -> Outcome:
        """Write the slices of the scans of the run's shard."""
        tasks = {scan.case_id: self._task(scan) for scan in running.shard.part(self.cases)}
        outcome = run_cases("scans", ScanWork(ledger, self.options, self.hu_clip, running.resume), tasks, running)
        report_missed(self.out, outcome.records)
        if self.options.hard_negatives:
            report_refused(self.options.hard_negatives, outcome.records)
        return outcome

    def _task(self, scan: Scan) -> ScanTask:
        hard = self.hard_negatives.get(scan.case_id, ())
        return ScanTask(scan, tuple(sorted(hard)), tuple(sorted(self.exclusion.slices.get(scan.case_id, ()))))

    def selected(self, outcome: Outcome) -> Selected:
        """What was written, for COCO; raises InputError for one scan in two splits."""
        by_name = {scan.case_id: scan for scan in self.cases}
        kept = [(by_name[record["case_id"]], record) for record in outcome.records]
        digests = [(scan.case_id, record["digest"], self.split_of[scan.patient_id]) for scan, record in kept]
        refuse_duplicates(digests, self.out)
        names = category_names(nodule.label for scan in self.cases for nodule in scan.nodules)
        selected = Selected({number: name for name, number in names.items()}, self.split_of)
        for scan, record in kept:
            selected.add_scan(scan, record, self.hu_clip)
        return selected

    def shard_facts(self, shard: Shard, outcome: Outcome) -> dict[str, Any] | None:
        """See :meth:`lungct.preprocessing.shard.Shard.facts`."""
        said = [(said_of_scan(scan), self.split_of[scan.patient_id]) for scan in self.cases]
        kept = [record["case_id"] for record in outcome.records]
        return shard.facts([scan.case_id for scan in self.cases], (said, self.hu_clip), kept)


def _stated(scan: Scan) -> tuple[str, str]:
    return scan.patient_id, scan.split


def _hu_clip(out: Path) -> tuple[int, int]:
    if not (out / MANIFEST).is_file():
        return HU_CLIP
    low, high = read_manifest(out)[0].get("options", {}).get("hu_clip", HU_CLIP)
    return int(low), int(high)


def _hard_negatives(path: Path | None, known: set[str], out: Path) -> dict[str, set[int]]:
    if path is None:
        return {}
    found = read_case_slices(path)
    strange = found.keys() - known
    if found and len(strange) == len(found):
        raise InputError.of(path, f"none of its slices is of a case of {out}")
    if strange:
        logger.warning("%s: %d of its %d cases are not in %s", path, len(strange), len(found), out)
    return found
