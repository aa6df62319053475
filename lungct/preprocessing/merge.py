"""The shards of one run -> the folder that the whole run would have written, byte for byte.

A shard's manifest says which share it is and the place of each of its cases in the whole. Manifest records, table rows
and COCO entries are brought into that order and COCO ids are counted anew; every other file is linked, or copied where
there can be no hard link.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lungct.errors import InputError
from lungct.io.atomic import check_replaceable, staged_folder, write_bytes, write_json
from lungct.io.manifest import files_of, write_manifest
from lungct.preprocessing.merge_tables import joined_coco, joined_csv, joined_lines, joined_results
from lungct.preprocessing.shard_folder import ShardFolder, parts_of, shards_in_order
from lungct.preprocessing.split import refuse_duplicates
from lungct.report.flagged_maps import INDEX
from lungct.sources.excluded import EXCLUDED
from lungct.types import Progress, no_progress

RESULTS = "detections.json"
_IN_EVERY_SHARD = ("nifti/slicer.py",)


@dataclass(frozen=True)
class MergeSummary:
    """Of which command the shards are, how many, the cases in them and the cases that they left out."""

    command: str
    shards: int
    cases: int
    left_out: int

    def facts(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def plan_merge(folders: Sequence[Path], out: Path, *, overwrite: bool = False) -> MergeSummary:
    """What :func:`merge` would do; reads manifests, writes nothing.

    Raises:
        InputError, OutputExists: see :func:`merge`.
    """
    if parts := parts_of(folders):
        return _largest(plan_merge([one / name for one in folders], out / name, overwrite=overwrite) for name in parts)
    shards = shards_in_order(folders)
    check_replaceable(out, overwrite=overwrite, command=shards[0].command)
    return _summary(shards)


def merge(
    folders: Sequence[Path], out: Path, *, overwrite: bool = False, progress: Progress = no_progress
) -> MergeSummary:
    """Join the shards of one run of preprocess, select-slices, predict or explain, given in any order.

    Of explain the folders hold one for each method, and each is joined for itself.

    Raises:
        InputError: a folder that is no shard; shards of different commands, versions, options or sources; a shard that
            is missing or given twice; a file that is missing or in two shards; one scan in two splits; no slice at all.
        OutputExists: ``out`` is there and ``overwrite`` is false.
    """
    if parts := parts_of(folders):
        plan_merge(folders, out, overwrite=overwrite)
        inside = {name: [one / name for one in folders] for name in parts}
        return _largest(
            merge(those, out / name, overwrite=overwrite, progress=progress) for name, those in inside.items()
        )
    shards = shards_in_order(folders)
    command = shards[0].command
    check_replaceable(out, overwrite=overwrite, command=command)
    records = [
        record for _, record in sorted((one for shard in shards for one in shard.placed), key=lambda one: one[0])
    ]
    if command == "select-slices":
        _check_slices(records, out)
    files = _files(shards)
    with staged_folder(out, command=command, overwrite=overwrite) as staging:
        if command == "explain":
            _write_index(staging, shards)
        else:
            _write_tables(staging, shards)
        for done, (name, path) in enumerate(files.items(), 1):
            _link(path, staging / name)
            progress("files", done, len(files))
        write_manifest(staging, command, shards[0].head["options"], records)
    return _summary(shards)


def _largest(summaries: Iterable[MergeSummary]) -> MergeSummary:
    """Of the parts of explain, which have images or patients for cases, the one of the images."""
    return max(summaries, key=lambda one: one.cases)


def _summary(shards: Sequence[ShardFolder]) -> MergeSummary:
    cases = sum(len(shard.records) for shard in shards)
    return MergeSummary(shards[0].command, len(shards), cases, shards[0].facts["cases"] - cases)


def _check_slices(records: Sequence[Mapping[str, Any]], out: Path) -> None:
    """What a whole run of select-slices asks of all cases together."""
    refuse_duplicates(((one["case_id"], one["voxels_blake2b"], one["split"]) for one in records), out)
    if not any(record["images"] for record in records):
        hint = "its scans have no annotation, or no nodule and --negatives 0"
        raise InputError.of(out, "no slice in any shard", hint)


def _files(shards: Sequence[ShardFolder]) -> dict[str, Path]:
    """Name in the whole -> where it lies, of every file that is no table."""
    found: dict[str, Path] = {}
    for shard in shards:
        mine = shard.files()
        lost = next((name for record in shard.records for name in files_of(record) if name not in mine), None)
        if lost is not None:
            raise InputError.of(shard.folder, f"{lost}, which its manifest names, is missing")
        double = next((name for name in mine if name in found and name not in _IN_EVERY_SHARD), None)
        if double is not None:
            raise InputError.of(shard.folder, f"{double} is in another shard, too")
        found.update(mine)
    return found


def _write_index(staging: Path, shards: Sequence[ShardFolder]) -> None:
    """The index of a method's maps; contact sheets have none."""
    paths = [shard.tables()[INDEX] for shard in shards if INDEX in shard.tables()]
    if paths:
        place_of = {record["image_id"]: place for shard in shards for place, record in shard.placed}
        with _fitting(INDEX):
            write_bytes(staging / INDEX, joined_lines(paths, place_of))


def _write_tables(staging: Path, shards: Sequence[ShardFolder]) -> None:
    placed = [one for shard in shards for one in shard.placed]
    place_of_case = {record["case_id"]: place for place, record in placed}
    place_of_file = {name: place for place, record in placed for name in files_of(record)}
    tables = [shard.tables() for shard in shards]
    _check_tables(shards, tables)
    for name in sorted({name for mine in tables for name in mine if name.endswith(".csv")}):
        paths = [mine[name] for mine in tables if name in mine]
        with _fitting(name):
            write_bytes(staging / name, joined_csv(paths, place_of_case))
    if RESULTS in tables[0]:
        with _fitting(RESULTS):
            write_json(staging / RESULTS, joined_results([mine.pop(RESULTS) for mine in tables], place_of_case))
    truths = [{name: path for name, path in mine.items() if name.endswith(".json")} for mine in tables]
    with _fitting(", ".join(truths[0])):
        for name, document in joined_coco(truths, place_of_file).items():
            write_json(staging / name, document)


def _check_tables(shards: Sequence[ShardFolder], tables: Sequence[Mapping[str, Path]]) -> None:
    """Every shard has the same ones, but for those that are there where there is something to write."""
    wanted = {name for mine in tables for name in mine} - {EXCLUDED}
    for shard, mine in zip(shards, tables, strict=True):
        if wanted - mine.keys():
            raise InputError.of(shard.folder, f"{', '.join(sorted(wanted - mine.keys()))} is missing")


@contextlib.contextmanager
def _fitting(name: str) -> Iterator[None]:
    """Tables that somebody has changed, or that a copy has cut short, are no fault of the program's."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as problem:
        found = f"{type(problem).__name__}: {' '.join(str(problem).split())[:100]}"
        raise InputError(f"{name} of a shard is broken, or does not fit its manifest ({found})") from None


def _link(path: Path, new: Path) -> None:
    new.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path.resolve(), new)
    except OSError:
        shutil.copyfile(path, new)
