"""The true masks of an image's nodules: from COCO's segmentation, or from images and volumes beside it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungct.ct.geometry import to_canonical
from lungct.errors import InputError
from lungct.game.names import Names, names_of
from lungct.game.target import pixels_of
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth
from lungct.io.coco_masks import mask_of
from lungct.io.npz import read_arrays
from lungct.io.png import read_gray
from lungct.types import BoolArray, Grid, Volume

PICTURES = (".png", ".npz")
VOLUMES = (".nii.gz", ".nii")


def crowd_of(truth: CocoTruth, image: CocoImage) -> BoolArray | None:
    """(Y, X) pixels of the image's crowd regions, by their segmentation or else their box; None without any.

    Raises:
        InputError: a segmentation that cannot be read.
    """
    shape = (image.height, image.width)
    regions = [one for one in truth.annotations_of[image.id] if one.iscrowd]
    masks = [_own_mask(one, shape) for one in regions]
    boxes = [pixels_of(shape, np.asarray(one.box_xyxy_px)) for one in regions]
    found = [box if mask is None else mask for mask, box in zip(masks, boxes, strict=True)]
    return np.logical_or.reduce(found) if found else None


def _own_mask(annotation: CocoAnnotation, shape_yx: tuple[int, int]) -> BoolArray | None:
    try:
        return mask_of(annotation.segmentation, shape_yx)
    except (ValueError, KeyError, TypeError) as problem:
        raise InputError(f"annotation {annotation.id}: {problem}") from None


def masks_of(truth: CocoTruth, image: CocoImage, folder: Path | None) -> list[BoolArray]:
    """A (Y, X) mask per true box of the image, in the file's order, without crowd regions.

    Without a folder each annotation's own segmentation; with one, what of the image's mask lies in the box: of
    ``<image id>.png`` or ``.npz`` (array ``mask``), named as maps are, or of plane ``z_index`` of ``<case id>.nii.gz``.

    Raises:
        InputError: a mask that is missing, empty in its box or of another size, whose name is that of two images, or
            that cannot be read.
    """
    shape = (image.height, image.width)
    whole = None if folder is None else _plane(folder, image, Names(truth))
    masks = []
    for annotation in truth.annotations_of[image.id]:
        if annotation.iscrowd:
            continue
        box = np.asarray(annotation.box_xyxy_px)
        mask = _own_mask(annotation, shape) if whole is None else whole & pixels_of(shape, box)
        if mask is None or not mask.any():
            hint = "name a folder of masks with --masks, or play with --shape box or ellipse"
            raise InputError(f"annotation {annotation.id} of image {image.id} has no mask", hint)
        masks.append(mask)
    return masks


def _plane(folder: Path, image: CocoImage, names: Names) -> BoolArray:
    places = [folder / f"{name}{suffix}" for name in names_of(image) for suffix in PICTURES]
    places += [folder / f"{image.case_id}{suffix}" for suffix in VOLUMES]
    path = next((one for one in places if one.is_file()), None)
    if path is None:
        raise InputError.of(folder, f"no mask of image {image.id}", f"looked for {places[0].name}, {places[-2].name}")
    if path.suffix in PICTURES:
        names.image_of(path.stem, path)  # complains of a name that could be another image's
    plane: BoolArray = plane_of(path, image, "mask") != 0
    if plane.shape != (image.height, image.width):
        raise InputError.of(path, f"is {plane.shape[1]} x {plane.shape[0]}, the image {image.width} x {image.height}")
    return plane


def plane_of(path: Path, image: CocoImage, array: str) -> NDArray[Any]:
    """(Y, X) of a PNG, of the named array of an NPZ, or of the image's plane in a NIfTI volume.

    A volume is brought to the slices' orientation (x to the left, y to the back, z to the head); the plane is the
    image's ``z_index``. Where the truth tells the image's ``z_mm``, the plane must lie there.

    Raises:
        InputError: it cannot be read, or the volume has no such plane, or has it elsewhere.
    """
    if path.suffix == ".png":
        return read_gray(path)
    if path.suffix == ".npz":
        return np.squeeze(read_arrays(path, (array,))[array])
    volume = _volume(path, path.stat().st_mtime_ns)
    z_index = image.lungct.get("z_index")
    if z_index is None and len(volume.hu) == 1:
        z_index = 0
    if z_index is None or not 0 <= int(z_index) < len(volume.hu):
        raise InputError.of(path, f"has {len(volume.hu)} planes, image {image.id} asks for z_index {z_index}")
    _check_height(path, volume.grid, int(z_index), image)
    plane: NDArray[Any] = volume.hu[int(z_index)]
    return plane


def _check_height(path: Path, grid: Grid, z_index: int, image: CocoImage) -> None:
    wanted = image.lungct.get("z_mm")
    if wanted is None:
        return
    _, height, width = grid.shape_zyx
    found = float(grid.to_world(((width - 1) / 2, (height - 1) / 2, float(z_index)))[2])
    if abs(found - float(wanted)) > grid.spacing_mm_zyx[0] / 2:
        problem = f"plane {z_index} lies at z {found:.1f} mm, image {image.id} at {float(wanted):.1f} mm"
        raise InputError.of(path, problem, "save it with the affine of the scan")


@lru_cache(maxsize=2)
def _volume(path: Path, written_ns: int) -> Volume:
    from lungct.io.nifti import read_nifti

    return to_canonical(read_nifti(path))
