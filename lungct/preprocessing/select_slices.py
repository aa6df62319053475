"""Preprocessed scans or 2D images -> slice files and one COCO file per split, split by patient."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lungct.errors import InputError
from lungct.io.atomic import MANIFEST, check_replaceable, staged_folder
from lungct.io.coco import write_truth
from lungct.io.manifest import read_manifest, write_manifest
from lungct.preprocessing.cases import Ledger, Running
from lungct.preprocessing.flat_slices import FlatSource, is_flat
from lungct.preprocessing.scan_slices import SelectOptions
from lungct.preprocessing.scan_source import ScanSource
from lungct.preprocessing.shard import WHOLE, Shard
from lungct.registry import SPLITS
from lungct.sources.pseudonym import Naming

logger = logging.getLogger("lungct")


@dataclass(frozen=True)
class SelectSummary:
    """Images, boxes and patients of each split."""

    images: Mapping[str, int]
    boxes: Mapping[str, int]
    patients: Mapping[str, int]
    failed: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """JSON-ready, without the failures."""
        return {key: value for key, value in asdict(self).items() if key != "failed"}


def plan_select_slices(
    out: Path,
    slices: Path,
    options: SelectOptions,
    *,
    naming: Naming = Naming(),
    overwrite: bool = False,
    shard: Shard = WHOLE,
) -> dict[str, Any]:
    """How many patients, and scans or images, each split would get; reads no voxels, writes nothing.

    Raises:
        InputError: see :func:`select_slices`.
        OutputExists: ``slices`` is there.
    """
    check_replaceable(slices, overwrite=overwrite, command="select-slices")
    source = _source(out, options, naming)
    patients = [case.patient_id for case in source.cases if shard.holds(case.patient_id)]

    def counts(which: list[str]) -> dict[str, int]:
        return {name: sum(source.split_of[one] == name for one in which) for name in SPLITS}

    what = "images" if isinstance(source, FlatSource) else "scans"
    return {"patients": counts(sorted(set(patients))), what: counts(patients)}


def select_slices(
    out: Path,
    slices: Path,
    options: SelectOptions = SelectOptions(),
    running: Running = Running(),
    *,
    naming: Naming = Naming(),
) -> SelectSummary:
    """Write the slices that the rule keeps, negatives, and ``train.json``, ``val.json``, ``test.json``.

    With a shard, of its patients only, each in the split that it has in the whole;
    :func:`lungct.preprocessing.merge.merge` makes one folder of all shards.

    Args:
        out: what ``lungct preprocess`` wrote, or scans with boxes in one of the layouts that it reads.
        slices: folder to write.
        naming: how identifiers of a layout that is not ours become names.

    Raises:
        InputError: a broken input, a patient in two splits, the same scan in two splits, no slice at all.
        OutputExists: ``slices`` is there and ``running.overwrite`` is false.
    """
    check_replaceable(slices, overwrite=running.overwrite, command="select-slices")
    stated = options.record()
    with staged_folder(slices, command="select-slices", overwrite=running.overwrite, resume=running.resume) as staging:
        ledger = Ledger.of(staging, stated)
        source = _source(out, options, naming)
        outcome = source.run(ledger, running)
        selected = source.selected(outcome)
        if not selected.images and running.shard.is_whole:
            hint = "its scans have no annotation, or no nodule and --negatives 0"
            raise InputError.of(out, "no slice to select", hint)
        ledger.close(name for record in outcome.records for name in record["files"])
        splits = selected.by_split()
        for name, truth in splits.items():
            write_truth(staging / f"{name}.json", truth)
        shard = source.shard_facts(running.shard, outcome)
        write_manifest(staging, "select-slices", stated, selected.records, shard=shard)
    return SelectSummary(
        {name: len(truth.images) for name, truth in splits.items()},
        {name: len(truth.annotations) for name, truth in splits.items()},
        {name: len({image.patient_id for image in truth.images}) for name, truth in splits.items()},
        tuple(outcome.failed),
    )


def _source(out: Path, options: SelectOptions, naming: Naming) -> FlatSource | ScanSource:
    if (out / MANIFEST).is_file() and "shard" in read_manifest(out)[0]:
        logger.warning("%s is a shard of a run, so splits are not those of the whole; 'lungct merge' joins shards", out)
    return FlatSource.read(out, options) if is_flat(out) else ScanSource.read(out, options, naming)
