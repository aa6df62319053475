"""Preprocessed scans or 2D images -> slice files and one COCO file per split, split by patient."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lungct.errors import InputError
from lungct.io.atomic import MANIFEST, check_replaceable, staged_folder
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth, read_truth, write_truth
from lungct.io.manifest import read_manifest, write_manifest
from lungct.preprocessing.cases import Ledger, Record, Running, run_cases
from lungct.preprocessing.flat_slices import FlatWork
from lungct.preprocessing.images import SLICES, category_names
from lungct.preprocessing.scan_slices import SELECTION_SCHEMA, ScanWork, SelectOptions, report_missed
from lungct.preprocessing.split import assign_splits, refuse_duplicates
from lungct.registry import HU_CLIP, SPLITS
from lungct.sources.pseudonym import Naming
from lungct.sources.source import SourceOptions, read_source
from lungct.types import Nodule, Scan


@dataclass(frozen=True)
class SelectSummary:
    """Images and boxes of each split."""

    images: Mapping[str, int]
    boxes: Mapping[str, int]
    patients: Mapping[str, int]
    failed: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """JSON-ready, without the failures."""
        return {key: value for key, value in asdict(self).items() if key != "failed"}


def plan_select_slices(
    out: Path, slices: Path, options: SelectOptions, *, naming: Naming = Naming(), overwrite: bool = False
) -> dict[str, Any]:
    """How many patients, and scans or images, each split would get; reads no voxels, writes nothing.

    Raises:
        InputError: see :func:`select_slices`.
        OutputExists: ``slices`` is there.
    """
    check_replaceable(slices, overwrite=overwrite, command="select-slices")
    if (out / SLICES).is_file():
        rows = [(image.patient_id, str(image.lungct.get("split", ""))) for image in read_truth(out / SLICES).images]
    else:
        rows = [(scan.patient_id, scan.split) for scan in _scans(out, naming)]
    split_of = _splits(rows, options.seed, out)
    what = "images" if (out / SLICES).is_file() else "scans"
    cases = [split_of[patient] for patient, _ in rows]
    return {
        "patients": {name: list(split_of.values()).count(name) for name in SPLITS},
        what: {name: cases.count(name) for name in SPLITS},
    }


def select_slices(
    out: Path,
    slices: Path,
    options: SelectOptions = SelectOptions(),
    running: Running = Running(),
    *,
    naming: Naming = Naming(),
) -> SelectSummary:
    """Write the slices that the rule keeps, negatives, and ``train.json``, ``val.json``, ``test.json``.

    Args:
        out: what ``lungct preprocess`` wrote, or scans with boxes in one of the layouts that it reads.
        slices: folder to write.
        naming: how identifiers of a layout that is not ours become names.

    Raises:
        InputError: a broken input, a patient in two splits, the same scan in two splits, no slice at all.
        OutputExists: ``slices`` is there and ``running.overwrite`` is false.
    """
    check_replaceable(slices, overwrite=running.overwrite, command="select-slices")
    stated = asdict(options)
    with staged_folder(slices, command="select-slices", overwrite=running.overwrite, resume=running.resume) as staging:
        ledger = Ledger(staging, json.dumps(stated, sort_keys=True))
        if (out / SLICES).is_file():
            splits, records, failed = _write_flat(out, ledger, options, running)
        else:
            splits, records, failed = _write_scans(out, _scans(out, naming), ledger, options, running)
        if not any(truth.images for truth in splits.values()):
            hint = "its scans have no annotation, or no nodule and --negatives 0"
            raise InputError.of(out, "no slice to select", hint)
        ledger.close(name for record in records for name in record["images"])
        for name, truth in splits.items():
            write_truth(staging / f"{name}.json", truth)
        write_manifest(staging, "select-slices", stated, records)
    return SelectSummary(
        {name: len(truth.images) for name, truth in splits.items()},
        {name: len(truth.annotations) for name, truth in splits.items()},
        {name: len({image.patient_id for image in truth.images}) for name, truth in splits.items()},
        tuple(failed),
    )


def _splits(rows: Iterable[tuple[str, str]], seed: int, where: Path) -> dict[str, str]:
    stated: dict[str, set[str]] = defaultdict(set)
    for patient, split in rows:
        stated[patient].add(split)
    return assign_splits(stated, seed, where)


_Written = tuple[dict[str, CocoTruth], list[Record], Sequence[str]]


def _write_flat(out: Path, ledger: Ledger, options: SelectOptions, running: Running) -> _Written:
    truth = read_truth(out / SLICES)
    split_of = _splits(
        ((image.patient_id, str(image.lungct.get("split", ""))) for image in truth.images), options.seed, out
    )
    by_name = {Path(image.file_name).stem: image for image in truth.images}
    work = FlatWork(ledger, truth.root, options.context, running.resume)
    outcome = run_cases("images", work, by_name, running)
    kept = {record["name"]: record["digest"] for record in outcome.records}
    images = [image for name, image in by_name.items() if name in kept]
    refuse_duplicates(((name, digest, split_of[by_name[name].patient_id]) for name, digest in kept.items()), out)
    annotations = [one for image in images for one in truth.annotations_of[image.id]]
    records = [
        {
            "schema": SELECTION_SCHEMA,
            "case_id": image.case_id,
            "patient_id": image.patient_id,
            "split": split_of[image.patient_id],
            "images": [image.file_name],
            "boxes": len(truth.annotations_of[image.id]),
        }
        for image in images
    ]
    return _by_split(truth.categories, images, annotations, split_of), records, outcome.failed


def _scans(out: Path, naming: Naming) -> tuple[Scan, ...]:
    contents = read_source(out, options=SourceOptions(naming=naming))
    if contents.images:
        raise InputError.of(out, "raw 2D slices", "run 'lungct preprocess' on them first")
    return contents.scans


def _hu_clip(out: Path) -> tuple[int, int]:
    if not (out / MANIFEST).is_file():
        return HU_CLIP
    low, high = read_manifest(out)[0].get("options", {}).get("hu_clip", HU_CLIP)
    return int(low), int(high)


def _write_scans(
    out: Path, found: Sequence[Scan], ledger: Ledger, options: SelectOptions, running: Running
) -> _Written:
    scans = {scan.case_id: scan for scan in found}
    split_of = _splits(((scan.patient_id, scan.split) for scan in scans.values()), options.seed, out)
    hu_clip = _hu_clip(out)
    outcome = run_cases("scans", ScanWork(ledger, options, hu_clip, running.resume), scans, running)
    report_missed(out, outcome.records)
    refuse_duplicates(
        ((one["case_id"], one["digest"], split_of[scans[one["case_id"]].patient_id]) for one in outcome.records), out
    )
    categories = category_names(nodule.label for scan in scans.values() for nodule in scan.nodules)
    images: list[CocoImage] = []
    annotations: list[CocoAnnotation] = []
    records = []
    for record in outcome.records:
        scan = scans[record["case_id"]]
        rows = _images(record, scan, hu_clip, first_id=len(images) + 1)
        images += rows
        annotations += _annotations(record, scan, rows, categories, first_id=len(annotations) + 1)
        records.append(_manifest_record(record, scan, split_of[scan.patient_id]))
    names = {number: name for name, number in categories.items()}
    return _by_split(names, images, annotations, split_of), records, outcome.failed


def _images(record: Record, scan: Scan, hu_clip: tuple[int, int], first_id: int) -> list[CocoImage]:
    width, height = record["size_xy"]
    return [
        CocoImage(
            number,
            image["file_name"],
            width,
            height,
            {
                "case_id": scan.case_id,
                "patient_id": scan.patient_id,
                **scan.attributes,
                "z_index": image["z_index"],
                "z_mm": image["z_mm"],
                **record["grid"],
                "hu_clip": list(hu_clip),
            },
        )
        for number, image in enumerate(record["images"], first_id)
    ]


def _annotations(
    record: Record, scan: Scan, rows: Sequence[CocoImage], categories: Mapping[str, int], first_id: int
) -> list[CocoAnnotation]:
    image_ids = {row.file_name: row.id for row in rows}
    nodules = {nodule.nodule_id: nodule for nodule in scan.nodules}
    found = []
    for number, box in enumerate(record["boxes"], first_id):
        nodule = nodules[box["nodule_id"]]
        x1, y1, x2, y2 = box["box_xyxy_px"]
        category = categories.get(nodule.label, 1)
        image_id = image_ids[box["file_name"]]
        found.append(CocoAnnotation(number, image_id, category, (x1, y1, x2, y2), attributes=_attributes(nodule)))
    return found


def _attributes(nodule: Nodule) -> dict[str, Any]:
    known = {
        "nodule_id": nodule.nodule_id,
        "diameter_mm": round(nodule.diameter_mm, 4),
        "malignant": nodule.malignant,
        "malignancy": nodule.malignancy,
        **nodule.attributes,
    }
    return {key: value for key, value in known.items() if value is not None}


def _manifest_record(record: Record, scan: Scan, split: str) -> Record:
    return {
        "schema": SELECTION_SCHEMA,
        "case_id": scan.case_id,
        "patient_id": scan.patient_id,
        "split": split,
        "images": [image["file_name"] for image in record["images"]],
        "boxes": len(record["boxes"]),
        "negatives": record["negatives"],
        "nodules_missed": record["missed"],
    }


def _by_split(
    categories: Mapping[int, str],
    images: Sequence[CocoImage],
    annotations: Sequence[CocoAnnotation],
    split_of: Mapping[str, str],
) -> dict[str, CocoTruth]:
    """Ids stay unique over the splits."""
    found = {}
    for name in SPLITS:
        mine = [
            replace(image, lungct={**image.lungct, "split": name})
            for image in images
            if split_of[image.patient_id] == name
        ]
        ids = {image.id for image in mine}
        found[name] = CocoTruth(categories, mine, [one for one in annotations if one.image_id in ids])
    return found
