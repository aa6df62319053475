"""One image's heatmaps on disk: an NPZ per method and an overlay per detection, and reading them back for a resume."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from lungct.errors import InputError
from lungct.explain.base import Explanation, finish, stacked
from lungct.explain.geometry import Geometry
from lungct.io.atomic import LOCK
from lungct.io.coco import CocoAnnotation, CocoImage
from lungct.io.npz import HEATMAP_SCHEMA, read_heatmaps, write_heatmaps
from lungct.report.overlay import draw_overlay
from lungct.types import Detections, FloatArray, Heatmaps


@dataclass(frozen=True, eq=False)
class Page:
    """What the maps of one image are written beside.

    Attributes:
        middle_hu: (Y, X) int16 the slice that is drawn.
        true_boxes_xyxy_px: (N, 4).
        matched: the true box that each detection found, None for a false positive.
        window_hu: HU drawn black and white.
    """

    image: CocoImage
    middle_hu: NDArray[np.int16]
    true_boxes_xyxy_px: FloatArray
    matched: Sequence[CocoAnnotation | None]
    window_hu: tuple[float, float]


def stem_of(image_id: int | str) -> str:
    """The file name of an image id: itself, with what a file name cannot hold percent-encoded."""
    return quote(str(image_id), safe="")


def write_image(
    folder: Path,
    method: str,
    page: Page,
    detections: Detections,
    explanation: Explanation,
    geometry: Geometry,
    *,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Write overlays, then the NPZ, whose presence says that the image is whole; returns its manifest record."""
    heatmaps, flags = finish(explanation, geometry)
    maps = Heatmaps(
        image_id=page.image.id,
        method=method,
        heatmaps=heatmaps,
        raw=stacked(explanation.raw),
        boxes_xyxy_px=detections.boxes_xyxy_px,
        scores=detections.scores,
        labels=detections.labels,
        matched_annotation_id=np.array([_number_of(one) for one in page.matched], dtype=np.int64),
        layers=",".join(explanation.layers),
        flags=flags,
        provenance={
            "settings": dict(settings),
            "raw_shapes": [list(one.shape) for one in explanation.raw],
            "rectified": explanation.rectify,
            **explanation.record,
        },
    )
    stem = stem_of(page.image.id)
    for number in range(len(detections)):
        _draw(folder / f"{stem}_{number}.png", page, maps, number, explanation.layers[number])
    write_heatmaps(folder / f"{stem}.npz", maps)
    return record_of(page.image, maps)


def _number_of(annotation: CocoAnnotation | None) -> int:
    if annotation is None:
        return -1
    return annotation.id if isinstance(annotation.id, int) else 0


def _draw(path: Path, page: Page, maps: Heatmaps, number: int, layer: str) -> None:
    kind = "false positive" if page.matched[number] is None else "true positive"
    flag = f", {maps.flags[number]} map: means nothing" if maps.flags[number] else ""
    draw_overlay(
        path,
        page.middle_hu,
        maps.heatmaps[number].astype(np.float32),
        box_xyxy_px=[float(edge) for edge in maps.boxes_xyxy_px[number]],
        true_boxes_xyxy_px=page.true_boxes_xyxy_px,
        score=float(maps.scores[number]),
        method=maps.method,
        window_hu=page.window_hu,
        spacing_mm_xy=page.image.spacing_mm_xy,
        caption=f"{kind}, map read at {layer}{flag}" if layer != "none" else f"{kind}, control without the network",
    )


def record_of(image: CocoImage, maps: Heatmaps | None) -> dict[str, Any]:
    """The manifest record of one image; without detections there is no file, and the record says 0."""
    return {
        "schema": HEATMAP_SCHEMA,
        "image_id": image.id,
        "case_id": image.case_id,
        "patient_id": image.patient_id,
        "path": f"{stem_of(image.id)}.npz" if maps else None,
        "detections": len(maps.scores) if maps else 0,
        "true_positives": int((maps.matched_annotation_id >= 0).sum()) if maps else 0,
        "flags": list(maps.flags) if maps else [],
    }


def whole(folder: Path, image: CocoImage, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of an image that an interrupted run finished under the same settings, else None."""
    path = folder / f"{stem_of(image.id)}.npz"
    if not path.is_file():
        return None
    try:
        maps = read_heatmaps(path)
    except InputError:
        return None
    return record_of(image, maps) if maps.provenance.get("settings") == dict(settings) else None


def sweep(folder: Path, images: Iterable[CocoImage]) -> None:
    """Remove from a staging folder what an interrupted run left of images other than those that are whole."""
    stems = {stem_of(image.id) for image in images}
    for path in folder.iterdir():
        stem = path.stem if path.suffix == ".npz" else path.stem.rpartition("_")[0]
        if path.name != LOCK and (path.name.startswith(".") or stem not in stems):
            path.unlink()
