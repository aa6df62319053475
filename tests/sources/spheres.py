"""Scans and slices with spheres of known place, and the check that ``preprocess`` and ``select_slices`` keep it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from lungct.ct.select import Rule
from lungct.io.boxes_csv import read_nodules
from lungct.io.coco import read_truth
from lungct.io.npz import read_slice
from lungct.preprocessing.preprocess import PreprocessOptions, preprocess
from lungct.preprocessing.scan_slices import SelectOptions
from lungct.preprocessing.scans import VolumeOptions
from lungct.preprocessing.select_slices import select_slices
from lungct.sources.source import SourceOptions
from lungct.types import Grid, Triple, Volume

LUNG_HU, NODULE_HU = -850, 50
SPACING_OUT = (1.1, 1.0, 1.4)
MARGIN_PX = 2


@dataclass(frozen=True)
class Sphere:
    """A ball in the world."""

    center_lps_mm: Triple
    diameter_mm: float


@dataclass(frozen=True)
class Disc:
    """A disc in pixels, its centre where pixel i has its centre at i + .5."""

    center_px: tuple[float, float]
    diameter_px: float

    @property
    def box_xyxy_px(self) -> tuple[float, float, float, float]:
        (x, y), half = self.center_px, self.diameter_px / 2
        return x - half, y - half, x + half, y + half


@st.composite
def grids(draw: st.DrawFn, most_degrees: float = 20.0) -> Grid:
    """Straight, flipped, permuted and oblique grids with three different spacings."""
    permuted = np.eye(3)[list(draw(st.permutations(range(3))))]
    signs = np.array(draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3)))
    degrees = draw(st.sampled_from([0.0, most_degrees / 2, most_degrees]))
    axis = np.array(draw(st.sampled_from([(0, 0, 1), (1, 0, 0), (1, 2, 3)])), dtype=float)
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    turned = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    direction = tuple((turned @ (permuted * signs)).ravel().tolist())
    origin = draw(st.tuples(*[st.integers(-300, 300)] * 3))
    return Grid((26, 30, 34), (1.6, 1.2, 0.9), (float(origin[0]), float(origin[1]), float(origin[2])), direction)


def two_spheres(grid: Grid, shift: float = 0.3) -> list[Sphere]:
    """Two balls well inside, apart along every index axis but z; ``shift`` in voxels takes them off the lattice."""
    places = ((9 + shift, 10 - shift, 12 + shift), (25 - shift, 20 + shift, 14))
    world = [tuple(float(value) for value in grid.to_world(place)) for place in places]
    return [Sphere((x, y, z), diameter) for (x, y, z), diameter in zip(world, (8.0, 9.0), strict=True)]


def scan_of(grid: Grid, spheres: list[Sphere], seed: int = 0) -> Volume:
    """Lung with soft-edged balls in it, so that their centroid says their centre to a tenth of a voxel."""
    z, y, x = np.meshgrid(*(np.arange(count) for count in grid.shape_zyx), indexing="ij")
    world = grid.to_world(np.stack([x, y, z], axis=-1))
    hu = np.full(grid.shape_zyx, float(LUNG_HU))
    for sphere in spheres:
        distance = np.linalg.norm(world - sphere.center_lps_mm, axis=-1)
        hu += (NODULE_HU - LUNG_HU) * np.clip((sphere.diameter_mm / 2 - distance) / 1.5 + 0.5, 0, 1)
    hu += np.random.default_rng(seed).integers(-3, 4, grid.shape_zyx)
    return Volume(np.rint(hu).astype(np.int16), grid)


def slice_of(discs: list[Disc], size_xy: tuple[int, int] = (60, 48), seed: int = 0) -> NDArray[np.int16]:
    """(Y, X) lung with soft-edged discs."""
    y, x = np.mgrid[: size_xy[1], : size_xy[0]] + 0.5
    hu = np.full(size_xy[::-1], float(LUNG_HU))
    for disc in discs:
        distance = np.hypot(x - disc.center_px[0], y - disc.center_px[1])
        hu += (NODULE_HU - LUNG_HU) * np.clip(disc.diameter_px / 2 - distance + 0.5, 0, 1)
    hu += np.random.default_rng(seed).integers(-3, 4, size_xy[::-1])
    return np.rint(hu).astype(np.int16)


def check_spheres(
    source: Path, work: Path, spheres: list[Sphere], options: SourceOptions = SourceOptions(), name: str | None = None
) -> Path:
    """Preprocess a source of volumes and select its slices: each nodule is one of ``spheres``, in the output scan its
    centroid lies within half a voxel of the table, on every slice within half a pixel of its box. Returns ``out/``."""
    out, slices = work / "out", work / "slices"
    preprocess(source, out, PreprocessOptions(name, VolumeOptions(SPACING_OUT), reading=options))
    nodules = read_nodules(out / "nodules.csv")
    assert len(nodules) == len(spheres)
    for nodule in nodules:
        nearest = min(spheres, key=lambda one: np.linalg.norm(np.subtract(one.center_lps_mm, nodule.center_lps_mm)))
        np.testing.assert_allclose(nodule.center_lps_mm, nearest.center_lps_mm, atol=1e-3)
        np.testing.assert_allclose(nodule.size_mm, nearest.diameter_mm, rtol=1e-3)
        image = nibabel.load(out / "scans" / f"{nodule.case_id}.nii.gz")
        center = (np.linalg.inv(image.affine) @ [*np.multiply(nodule.center_lps_mm, (-1, -1, 1)), 1])[:3]
        half = nodule.diameter_mm / 2 / np.asarray(image.header.get_zooms()) + MARGIN_PX
        found = _centroid(np.asanyarray(image.dataobj), center - half, center + half)
        assert np.abs(found - center).max() < 0.5
    select_slices(out, slices, SelectOptions(Rule("all"), context=1, negatives=0))
    spots = check_boxes(slices)
    assert len(spots) == len(spheres)
    assert min(spots.values()) >= 3
    return out


def check_discs(
    source: Path, work: Path, discs: dict[str, list[Disc]], options: SourceOptions = SourceOptions()
) -> dict[str, list[tuple[float, ...]]]:
    """Preprocess a 2D source and select its slices: boxes as drawn, each within half a pixel of what is in it.

    Args:
        discs: by anything, the discs of each image.

    Returns:
        Image id -> its boxes.
    """
    out, slices = work / "out", work / "slices"
    preprocess(source, out, PreprocessOptions(reading=options))
    truth = read_truth(out / "slices.json")
    drawn = sorted(sorted(disc.box_xyxy_px for disc in mine) for mine in discs.values())
    read = sorted(sorted(note.box_xyxy_px for note in truth.annotations_of[image.id]) for image in truth.images)
    assert [len(one) for one in read] == [len(one) for one in drawn]
    for one, other in zip(read, drawn, strict=True):
        np.testing.assert_allclose(np.reshape(one, (-1, 4)), np.reshape(other, (-1, 4)), atol=1e-4)
    select_slices(out, slices, SelectOptions(context=1))
    assert list(check_boxes(slices).values()) == [1] * sum(map(len, drawn))
    return {
        str(image.lungct["image_id"]): [note.box_xyxy_px for note in truth.annotations_of[image.id]]
        for image in truth.images
    }


def check_boxes(slices: Path) -> dict[str, int]:
    """Nodule -> on how many slices its box has a bright spot, whose centre always lies within half a pixel of the
    box's; slices that only touch a ball's end have no spot to speak of."""
    seen: dict[str, int] = {}
    for split in ("train", "val", "test"):
        truth = read_truth(slices / f"{split}.json")
        for note in truth.annotations:
            image = next(one for one in truth.images if one.id == note.image_id)
            hu = read_slice(slices / image.file_name)[0]
            x1, y1, x2, y2 = note.box_xyxy_px
            center = np.array([(y1 + y2) / 2, (x1 + x2) / 2]) - 0.5
            half = np.array([(y2 - y1) / 2, (x2 - x1) / 2]) + MARGIN_PX
            spot = bool(hu[tuple(np.rint(center).astype(int))] > (LUNG_HU + NODULE_HU) / 2)
            name = f"{image.case_id} {note.attributes['nodule_id']}"
            seen[name] = seen.get(name, 0) + spot
            if spot:
                assert np.abs(_centroid(hu, center - half, center + half) - center).max() < 0.5
    return seen


def _centroid(values: NDArray[np.int16], low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    first = np.maximum(np.ceil(low), 0).astype(int)
    region = tuple(slice(one, int(other) + 1) for one, other in zip(first, high, strict=True))
    weight = np.clip(values[region].astype(float) - LUNG_HU - 50, 0, None)
    return np.array([(weight * index).sum() for index in np.indices(weight.shape)]) / weight.sum() + first
