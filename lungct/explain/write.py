"""One image's heatmaps on disk: an NPZ per method and an overlay per detection, and reading them back for a resume."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lungct.errors import InputError
from lungct.explain.base import Explanation, finish, stacked
from lungct.explain.geometry import Geometry
from lungct.explain.index import overlay_name, record_of, rows_of, stem_of
from lungct.explain.provenance import provenance_of
from lungct.io.atomic import LOCK
from lungct.io.coco import CocoAnnotation, CocoImage
from lungct.io.npz import read_heatmaps, write_heatmaps
from lungct.report.overlay import draw_overlay
from lungct.types import Detections, FloatArray, Heatmaps

if TYPE_CHECKING:  # torch is not needed to read maps back
    from lungct.explain.channels import ChannelValues

_CHANNEL_NAMES = {-1: "previous", 0: "this", 1: "next"}


@dataclass(frozen=True, eq=False)
class Page:
    """What the maps of one image are written beside.

    Attributes:
        middle_hu: (Y, X) int16 the slice that is drawn.
        true_boxes_xyxy_px: (N, 4).
        matched: the true box that each detection found, None for a false positive.
        window_hu: HU drawn black and white.
        channels: what each slice of the stack brings to the score; None where nobody asked.
        pictures: whether overlays are drawn.
        kinds: ``TP``, ``FP`` or ``FN`` of each; empty where every one is a detection.
    """

    image: CocoImage
    middle_hu: NDArray[np.int16]
    true_boxes_xyxy_px: FloatArray
    matched: Sequence[CocoAnnotation | None]
    window_hu: tuple[float, float]
    channels: ChannelValues | None = None
    pictures: bool = True
    kinds: Sequence[str] = ()


@dataclass(frozen=True)
class Said:
    """What is told of one image under one method: its manifest record, and a line of the index per map."""

    record: dict[str, Any]
    rows: list[dict[str, Any]]

    @classmethod
    def of(cls, image: CocoImage, maps: Heatmaps | None, *, pictures: bool) -> Said:
        """From the maps as they are written; None for an image without detections."""
        return cls(record_of(image, maps, pictures=pictures), rows_of(image, maps, pictures=pictures))


def write_image(
    folder: Path,
    method: str,
    page: Page,
    detections: Detections,
    explanation: Explanation,
    geometry: Geometry,
    *,
    settings: Mapping[str, Any],
) -> Said:
    """Write overlays, then the NPZ, whose presence says that the image is whole."""
    heatmaps, flags = finish(explanation, geometry)
    provenance = provenance_of(method, explanation, flags, settings)
    if page.kinds:
        provenance["kinds"] = list(page.kinds)
    if page.channels is not None:
        provenance["channels"] = page.channels.record(str(settings["baseline"]))
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
        provenance=provenance,
        channel_shapley=None if page.channels is None else page.channels.shapley.astype(np.float32),
    )
    if page.pictures:
        for number in range(len(detections)):
            _draw(folder / overlay_name(page.image.id, number), page, maps, number, explanation.layers[number])
    write_heatmaps(folder / f"{stem_of(page.image.id)}.npz", maps)
    return Said.of(page.image, maps, pictures=page.pictures)


def _number_of(annotation: CocoAnnotation | None) -> int:
    if annotation is None:
        return -1
    return annotation.id if isinstance(annotation.id, int) else 0


def _draw(path: Path, page: Page, maps: Heatmaps, number: int, layer: str) -> None:
    kind = "false positive" if page.matched[number] is None else "true positive"
    missed = bool(page.kinds) and page.kinds[number] == "FN"
    if missed:
        kind = "missed nodule, scored as a proposal"
    read = f"map read at {layer}" if layer != "none" else "control without the network"
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
        detected=not missed,
        caption=f"{kind}, {read}{flag}" + ("" if page.channels is None else f". {_brings(page.channels, number)}"),
    )


def _brings(channels: ChannelValues, number: int) -> str:
    """What each slice of the stack brings to the score, in words."""
    values = channels.shapley[number].tolist()
    middle = len(values) // 2
    named = [
        f"{_CHANNEL_NAMES.get(at - middle, f'{at - middle:+d}')} slice {value:+.2f}" for at, value in enumerate(values)
    ]
    return f"Score {channels.everything[number]:.2f} = blank {channels.none[number]:.2f}, {', '.join(named)}"


def whole(folder: Path, image: CocoImage, settings: Mapping[str, Any], *, pictures: bool) -> Said | None:
    """What is told of an image that an interrupted run finished under the same settings, else None."""
    path = folder / f"{stem_of(image.id)}.npz"
    if not path.is_file():
        return None
    try:
        maps = read_heatmaps(path)
    except InputError:
        return None
    drawn = not pictures or all((folder / overlay_name(image.id, one)).is_file() for one in range(len(maps.scores)))
    return Said.of(image, maps, pictures=pictures) if drawn and maps.provenance.get("settings") == settings else None


def sweep(folder: Path, images: Iterable[CocoImage], *, pictures: bool) -> None:
    """Remove from a staging folder what an interrupted run left of images other than those that are whole."""
    stems = {stem_of(image.id) for image in images}
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
            continue
        kept = path.stem in stems if path.suffix == ".npz" else pictures and path.stem.rpartition("_")[0] in stems
        if path.name != LOCK and (path.name.startswith(".") or not kept):
            path.unlink()


def forget(folder: Path, image: CocoImage) -> None:
    """Remove what was written of an image that then failed."""
    for path in (folder / f"{stem_of(image.id)}.npz", *folder.glob("*_*.png")):
        if path.suffix == ".npz" or path.stem.rpartition("_")[0] == stem_of(image.id):
            path.unlink(missing_ok=True)
