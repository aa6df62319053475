"""``contact_sheets/``: one picture per patient of the strongest detections under every method that explained them.

The sheets are made from the indexes of all method folders that lie beside each other, so a method that is run later
gets its column; they are made anew after every run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from lungct import registry
from lungct.errors import InputError
from lungct.io.atomic import MANIFEST, staged_folder
from lungct.io.coco import CocoImage, CocoTruth
from lungct.io.json_lines import read_json_lines
from lungct.io.manifest import read_manifest, write_manifest
from lungct.io.npz import read_heatmaps, read_slice
from lungct.preprocessing.shard import Shard
from lungct.report.contact_sheet import FOLDER, Cell, SheetRow, draw_sheet
from lungct.report.flagged_maps import INDEX
from lungct.types import Progress

SHEET_SCHEMA = "lungct.contact_sheet/1"
MOST_ROWS = 12


@dataclass
class _Detection:
    """One detection and its index row under each method."""

    rows: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def any(self) -> Mapping[str, Any]:
        """What all its rows agree in."""
        return next(iter(self.rows.values()))

    @property
    def finding(self) -> tuple[Any, ...]:
        """The same on neighbouring slices of one finding, as far as that can be told without its name."""
        x1, y1, x2, y2 = self.any["box_xyxy_px"]
        return self.any["case_id"], round((x1 + x2) / 40), round((y1 + y2) / 40)


def write_sheets(
    out: Path, truth: CocoTruth, wanted: CocoTruth, window_hu: tuple[float, float], shard: Shard, progress: Progress
) -> None:
    """Draw a sheet for every patient of ``truth`` that has a map in ``out``.

    Args:
        truth: the images explained, a shard's share of ``wanted``.
    """
    folders = method_folders(out)
    of_patient = _detections(folders, truth)
    patients = list(dict.fromkeys(image.patient_id for image in wanted.images))
    mine = [one for one in patients if one in of_patient]
    image_of = {image.id: image for image in truth.images}
    records = []
    with staged_folder(out / FOLDER, command="explain", overwrite=True) as folder:
        for done, patient in enumerate(mine, 1):
            path = f"{quote(patient, safe='')}.png"
            shown = _strongest(of_patient[patient])
            hidden = len(of_patient[patient]) - len(shown)
            note = f"{hidden} further detections are not shown" if hidden else ""
            sheet_rows = [_row(one, image_of[one.any["image_id"]], folders, truth) for one in shown]
            draw_sheet(folder / path, list(folders), sheet_rows, window_hu=window_hu, note=note)
            records.append(
                {"schema": SHEET_SCHEMA, "patient_id": patient, "path": path, "detections": len(of_patient[patient])}
            )
            progress("contact sheets", done, len(mine))
        facts = shard.facts(patients, sorted(folders), mine)
        write_manifest(folder, "explain", {"methods": list(folders)}, records, shard=facts)


def method_folders(out: Path) -> dict[str, Path]:
    """Method -> its folder in ``out``, as the registry orders them."""
    found = {}
    for folder in sorted(out.iterdir()):
        if folder.name.startswith(".") or not ((folder / MANIFEST).is_file() and (folder / INDEX).is_file()):
            continue
        options = read_manifest(folder)[0].get("options", {})
        if "method" in options:
            found[str(options["method"])] = folder
    order = list(registry.METHODS)
    return dict(sorted(found.items(), key=lambda one: order.index(one[0]) if one[0] in order else len(order)))


def _detections(folders: Mapping[str, Path], truth: CocoTruth) -> dict[str, list[_Detection]]:
    """Patient -> the detections on its images that any method has a map of."""
    known = {image.id: image.patient_id for image in truth.images}
    found: dict[str, dict[tuple[Any, ...], _Detection]] = {}
    for method, folder in folders.items():
        for row in read_json_lines(folder / INDEX):
            if row.get("image_id") in known:
                key = (row["image_id"], *(round(edge, 1) for edge in row["box_xyxy_px"]))
                of_patient = found.setdefault(known[row["image_id"]], {})
                of_patient.setdefault(key, _Detection()).rows[method] = row
    return {patient: list(one.values()) for patient, one in found.items()}


def _strongest(detections: Sequence[_Detection]) -> list[_Detection]:
    """The best detection of each finding, then the next best ones while there is room; by falling score."""
    by_score = sorted(detections, key=lambda one: (-one.any["score"], str(one.any["image_id"]), one.any["detection"]))
    seen: set[tuple[Any, ...]] = set()
    firsts: list[_Detection] = []
    others: list[_Detection] = []
    for one in by_score:
        (others if one.finding in seen else firsts).append(one)
        seen.add(one.finding)
    shown = (firsts + others)[:MOST_ROWS]
    return [one for one in by_score if one in shown]


def _row(detection: _Detection, image: CocoImage, folders: Mapping[str, Path], truth: CocoTruth) -> SheetRow:
    said = detection.any
    stack = read_slice(truth.root / image.file_name)
    found = {"TP": "true positive", "FP": "false positive", "FN": "missed nodule"}[said["kind"]]
    place = f"slice {said['z_index']}" if said["z_index"] is not None else f"image {said['image_id']}"
    return SheetRow(
        [f"score {said['score']:.2f}", found, place],
        stack[len(stack) // 2],
        said["box_xyxy_px"],
        truth.boxes_of(image.id),
        image.spacing_mm_xy,
        [_cell(detection, method, folder) for method, folder in folders.items()],
        detected=said["kind"] != "FN",
    )


def _cell(detection: _Detection, method: str, folder: Path) -> Cell | None:
    row = detection.rows.get(method)
    if row is None:
        return None
    maps = read_heatmaps(folder / row["file"])
    if row["detection"] >= len(maps.heatmaps):
        raise InputError.of(folder / row["file"], "has fewer maps than its index says")
    return Cell(maps.heatmaps[row["detection"]].astype(np.float32), str(row["flag"]))
