"""Tables of several shards -> those of the whole: rows in the order of its cases, COCO ids counted anew."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lungct.errors import InputError
from lungct.io.boxes_csv import ATTRIBUTE, NIFTI_SUFFIX
from lungct.io.case_lists import split_slice_name

CASE_COLUMNS = ("ct_nifti_file", "seriesuid")
"""Columns that name the case of a row: of nodules.csv, and of tables with the LUNA16 columns."""
Document = dict[str, Any]


def joined_csv(paths: Sequence[Path], place_of: Mapping[str, int]) -> bytes:
    """One CSV of several: rows by the place of their case, and a column for every attribute that one of them has.

    Raises:
        InputError: other columns that differ, none that names a case, a row of a case that has no place.
    """
    tables = [csv.DictReader(io.StringIO(path.read_text("utf-8"))) for path in paths]
    columns = [list(table.fieldnames or ()) for table in tables]
    fixed = [[name for name in names if not name.startswith(ATTRIBUTE)] for names in columns]
    case_column = next((name for name in CASE_COLUMNS if name in fixed[0]), "")
    placed = []
    for path, table, names in zip(paths, tables, fixed, strict=True):
        if names != fixed[0] or not case_column:
            raise InputError.of(path, f"its columns are not those of {paths[0]}, or none names a case")
        for row in table:
            place = place_of.get(row[case_column].removesuffix(NIFTI_SUFFIX))
            if place is None:
                raise InputError.of(path, f"line {table.line_num} is of no case of its shard")
            placed.append((place, row))
    extra = sorted({name for names in columns for name in names if name.startswith(ATTRIBUTE)})
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [*fixed[0], *extra], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(row for _, row in sorted(placed, key=lambda one: one[0]))
    return stream.getvalue().encode()


def joined_lines(paths: Sequence[Path], place_of: Mapping[Any, int]) -> bytes:
    """One NDJSON of several: lines by the place of the image that they are of."""
    lines = [line for path in paths for line in path.read_text("utf-8").splitlines()]
    return "".join(
        line + "\n" for line in sorted(lines, key=lambda one: place_of[json.loads(one)["image_id"]])
    ).encode()


def joined_results(paths: Sequence[Path], place_of: Mapping[str, int]) -> list[Document]:
    """One array of COCO results of several: rows by the place of the scan that their slice is of."""
    rows = [row for path in paths for row in json.loads(path.read_text("utf-8"))]
    return sorted(rows, key=lambda row: place_of[(split_slice_name(row["image_id"]) or ("", 0))[0]])


def joined_coco(parts: Sequence[Mapping[str, Path]], place_of: Mapping[str, int]) -> dict[str, Document]:
    """The COCO truths of several shards, name -> document.

    Args:
        parts: each shard's truths by name; ids are unique within a shard, over all its truths.
        place_of: name of an image file -> place of its case.

    Raises:
        InputError: what stands beside images and annotations differs between shards.
    """
    documents = [{name: json.loads(path.read_text("utf-8")) for name, path in part.items()} for part in parts]
    joined = _frames(documents[0])
    for part, mine in zip(parts, documents, strict=True):
        if _frames(mine) != joined:
            raise InputError.of(next(iter(part.values())).parent, "its COCO files have other categories")
    rows = [
        (place_of[row["file_name"]], row["id"], shard, name, row) for shard, name, row in _rows(documents, "images")
    ]
    places = {(shard, old): place for place, old, shard, _, _ in rows}
    numbers: dict[tuple[int, int], int] = {}
    for number, (_, old, shard, name, row) in enumerate(sorted(rows, key=_order), 1):
        numbers[shard, old] = number
        joined[name]["images"].append({**row, "id": number})
    rows = [
        (places[shard, row["image_id"]], row["id"], shard, name, row)
        for shard, name, row in _rows(documents, "annotations")
    ]
    for number, (_, _, shard, name, row) in enumerate(sorted(rows, key=_order), 1):
        joined[name]["annotations"].append({**row, "id": number, "image_id": numbers[shard, row["image_id"]]})
    return joined


def _frames(documents: Mapping[str, Document]) -> dict[str, Document]:
    return {name: {**document, "images": [], "annotations": []} for name, document in documents.items()}


def _rows(documents: Sequence[Mapping[str, Document]], what: str) -> Iterator[tuple[int, str, Document]]:
    for shard, mine in enumerate(documents):
        for name, document in mine.items():
            for row in document[what]:
                yield shard, name, row


def _order(row: tuple[int, int, int, str, Document]) -> tuple[int, int]:
    """By the place of the case, then as the shard counted."""
    return row[:2]
