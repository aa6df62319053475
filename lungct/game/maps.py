"""The heatmaps of a folder, ours or another tool's: which files there are, and one image's maps read from them.

    <method>/<image id>.npz       heatmaps (D, Y, X), boxes_xyxy_px (D, 4); optional scores, labels (D,)
    <method>/<image id>.png       one map of 8 or 16 bits for all boxes of the image, or
    <method>/<image id>_<n>.png   one for its n-th box, n from 0
    <method>/<case id>.nii.gz     a map over the whole scan, on its grid; images take the plane of their z_index

An image is called by its COCO id, by its ``lungct.image_id`` or as its picture; see ``names``. PNG and NIfTI hold no
boxes: they are maps of the image's detections where such are given, best first, and else of its true boxes in the
file's order. In or below a folder with an NPZ they are copies for the eye, and are not read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungct.errors import InputError
from lungct.game.masks import plane_of
from lungct.game.names import Names
from lungct.io.atomic import MANIFEST
from lungct.io.coco import CocoImage, CocoTruth
from lungct.io.npz import read_heatmaps, read_heatmaps_heading
from lungct.report.contact_sheet import FOLDER as SHEETS
from lungct.types import Detections, FloatArray, Heatmaps

VOLUMES = (".nii", ".nii.gz")


@dataclass(frozen=True)
class MapFile:
    """One method's maps of one image.

    Attributes:
        paths: one NPZ, one NIfTI, or PNGs by number of the box (-1: all).
        scored: whether an NPZ tells its boxes' scores, as those of a detector have them.
    """

    method: str
    paths: Mapping[int, Path] = field(hash=False)
    scored: bool = False

    @property
    def bare(self) -> bool:
        """Whether the files hold no boxes."""
        return self.first.suffix != ".npz"

    @property
    def first(self) -> Path:
        """What an error names."""
        return next(iter(self.paths.values()))


def map_files(heatmaps: Path, truth: CocoTruth) -> dict[int | str, list[MapFile]]:
    """Image id -> its maps by method, of the images that have any; empty where a run found nothing to explain.

    What lies in a hidden folder, as an unfinished run leaves behind, is not read.

    Raises:
        InputError: no map, nor the manifest of such a run; a map of an image that the truth does not hold, or whose
            name is that of two; a method twice on one image.
    """
    found: dict[int | str, dict[str, MapFile]] = defaultdict(dict)
    names = Names(truth)
    paths = [heatmaps] if heatmaps.is_file() else _visible(heatmaps, "*.npz")
    with_npz = {path.parent for path in paths}
    others = [] if heatmaps.is_file() else [path for path in _visible(heatmaps, "*") if not _copy(path, with_npz)]
    for path in paths:
        said, method, scored = read_heatmaps_heading(path)
        image = names.image_of(path.stem, path) if said is None else names.image_said(said, path)
        if image is None:
            shown = path.stem if said is None else said
            raise InputError.of(path, f"is of image {shown!r}, which the truth does not hold", names.example)
        _add(found[image.id], MapFile(method, {-1: path}, scored))
    for identifier, one in _of_other_tools(others, names):
        _add(found[identifier], one)
    if not found and not _visible(heatmaps, MANIFEST):
        raise InputError.of(
            heatmaps, "no heatmap (.npz, .png, .nii.gz) in it that is of an image of the truth", names.example
        )
    return {
        image.id: sorted(found[image.id].values(), key=lambda one: one.method)
        for image in truth.images
        if image.id in found
    }


def _copy(path: Path, with_npz: Collection[Path]) -> bool:
    """Whether a file is for the eye only: in or below a folder with NPZ files, or a contact sheet of ours."""
    return path.parent.name == SHEETS or any(folder in with_npz for folder in path.parents)


def _add(methods: dict[str, MapFile], one: MapFile) -> None:
    twin = methods.setdefault(one.method, one)
    if twin is not one:
        raise InputError.of(one.first, f"{one.method} has maps of this image in {twin.first} too")


def _visible(folder: Path, pattern: str) -> list[Path]:
    below = sorted(path for path in folder.rglob(pattern) if path.is_file())
    return [path for path in below if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def _of_other_tools(paths: Sequence[Path], names: Names) -> Iterator[tuple[int | str, MapFile]]:
    of_case: dict[str, list[CocoImage]] = defaultdict(list)
    for image in names.truth.images:
        of_case[image.case_id].append(image)
    pictures: dict[tuple[str, int | str], dict[int, Path]] = defaultdict(dict)
    for path in paths:
        method = path.parent.name
        if path.suffix == ".png":
            if (place := names.box_of(path)) is not None:
                _claim(pictures[method, place[0]], place[1], path)
        elif path.name.endswith(VOLUMES):
            case = path.name.removesuffix(".gz").removesuffix(".nii")
            for image in of_case.get(case) or of_case.get(case.removesuffix(f"_{method}"), []):
                yield image.id, MapFile(method, {-1: path})
    for (method, identifier), numbered in pictures.items():
        yield identifier, MapFile(method, dict(sorted(numbered.items())))


def _claim(numbered: dict[int, Path], number: int, path: Path) -> None:
    twin = numbered.setdefault(number, path)
    if twin is not path:
        raise InputError.of(path, f"is of the same image as {twin.name}", "leave one of them")


def read_maps(one: MapFile, truth: CocoTruth, image: CocoImage, detections: Detections | None = None) -> Heatmaps:
    """The maps of one image by one method.

    Args:
        detections: what PNG and NIfTI maps are of; None for the true boxes.

    Raises:
        InputError: a file that cannot be read, a map of another size than the image, a picture of a box that is not
            there.
    """
    if not one.bare:
        maps = read_heatmaps(one.first, truth.categories, raw=False)
        _check_size(one.first, maps.heatmaps.shape[1:], image)
        return maps
    return _bare(one, truth, image, detections)


def _check_size(path: Path, shape_yx: tuple[int, ...], image: CocoImage) -> None:
    if shape_yx != (image.height, image.width):
        height, width = shape_yx
        raise InputError.of(path, f"maps are {width} x {height} pixels, the image {image.width} x {image.height}")


def _bare(one: MapFile, truth: CocoTruth, image: CocoImage, detections: Detections | None) -> Heatmaps:
    boxes = _true_boxes(truth, image) if detections is None else detections
    planes = {number: _levels(plane_of(path, image, "heatmap")) for number, path in one.paths.items()}
    for number, path in one.paths.items():
        _check_size(path, planes[number].shape, image)
    numbers = [number for number in planes if number >= 0] or list(range(len(boxes)))
    if -1 in planes and len(planes) > 1:
        raise InputError.of(one.paths[-1], f"is of all boxes of the image, and {one.paths[numbers[0]].name} of one")
    if max(numbers, default=-1) >= len(boxes):
        raise InputError.of(one.paths[numbers[-1]], f"is of box {numbers[-1]}, and the image has {len(boxes)}")
    if detections is None:
        numbers = [number for number in numbers if not truth.annotations_of[image.id][number].iscrowd]
    heatmaps = np.array([planes[number if number in planes else -1] for number in numbers])
    heatmaps = heatmaps.reshape(len(numbers), image.height, image.width)
    return Heatmaps(
        image_id=image.id,
        method=one.method,
        heatmaps=heatmaps,
        raw=heatmaps,
        boxes_xyxy_px=boxes.boxes_xyxy_px[numbers],
        scores=boxes.scores[numbers],
        labels=boxes.labels[numbers],
        matched_annotation_id=np.full(len(numbers), -1, np.int64),
        layers="",
    )


def _true_boxes(truth: CocoTruth, image: CocoImage) -> Detections:
    annotations = truth.annotations_of[image.id]
    labels = np.array([one.category_id for one in annotations], dtype=np.int64)
    scores = np.ones(len(annotations), dtype=np.float32)
    return Detections(image.id, truth.boxes_of(image.id).astype(np.float32), scores, labels)


def _levels(plane: NDArray[Any]) -> FloatArray:
    """Gray levels as they are: rules see order and shares, so a PNG's 0..255 needs no division."""
    levels: FloatArray = plane.astype(np.float16 if plane.dtype == np.uint8 else np.float32)  # both exact
    return levels
