"""The frozen vocabulary that the stages share: grids, volumes, nodules, scans, slices, detections, heatmaps.

Frames and orders, everywhere: volumes are (Z, Y, X) arrays; world is LPS millimetres, as in DICOM, ITK and LUNA16;
points are (x, y, z) unless a name ends in ``_zyx``; boxes are ``xyxy`` in pixel *edges*, so a box of one pixel at the
origin is (0, 0, 1, 1) and the centre of pixel i lies at i + 0.5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.floating[Any]]
IntArray: TypeAlias = NDArray[np.integer[Any]]
BoolArray: TypeAlias = NDArray[np.bool_]
Triple: TypeAlias = tuple[float, float, float]
Progress: TypeAlias = Callable[[str, int, int], None]
"""``progress(what, done, total)``; a library function calls it, the command line draws it."""


def no_progress(what: str, done: int, total: int) -> None:
    """The progress callback that shows nothing."""


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a (Z, Y, X) array lie in the world.

    Attributes:
        shape_zyx: number of voxels along each array axis.
        spacing_mm_zyx: distance between voxel centres along each array axis.
        origin_lps_mm: world (x, y, z) of the *centre* of voxel (0, 0, 0).
        direction: row-major 3x3, ITK's convention: its columns are the world directions of the x, y and z index axes.
    """

    shape_zyx: tuple[int, int, int]
    spacing_mm_zyx: Triple
    origin_lps_mm: Triple
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    @property
    def direction_matrix(self) -> FloatArray:
        """(3, 3) float64: the columns are the world directions of the x, y, z index axes."""
        return np.asarray(self.direction, dtype=np.float64).reshape(3, 3)

    @property
    def affine_lps(self) -> FloatArray:
        """(4, 4) float64 that takes voxel index (x, y, z, 1) to world LPS mm."""
        affine = np.eye(4)
        affine[:3, :3] = self.direction_matrix * np.asarray(self.spacing_mm_zyx[::-1])
        affine[:3, 3] = self.origin_lps_mm
        return affine

    def to_world(self, index_xyz: FloatArray | Triple) -> FloatArray:
        """(..., 3) voxel indices (x, y, z; centres are whole numbers) to (..., 3) LPS mm."""
        affine = self.affine_lps
        return np.asarray(index_xyz, dtype=np.float64) @ affine[:3, :3].T + affine[:3, 3]

    def to_index(self, point_lps_mm: FloatArray | Triple) -> FloatArray:
        """(..., 3) LPS mm to (..., 3) fractional voxel indices (x, y, z; centres are whole numbers)."""
        affine = self.affine_lps
        return (np.asarray(point_lps_mm, dtype=np.float64) - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T


@dataclass(frozen=True, eq=False)
class Volume:
    """One CT on its grid.

    Attributes:
        hu: (Z, Y, X), int16 on disk, in Hounsfield units.
        filled_z: slices of a series as read that no file held and that are interpolated from their neighbours.
    """

    hu: NDArray[Any]
    grid: Grid
    filled_z: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Planes:
    """One CT that is read plane by plane, so that a long one takes no more memory than a short one.

    Attributes:
        grid: of the whole scan, in its stored index order.
        read: z -> (Y, X) HU of that plane, which stays as it is; z must rise from call to call. Raises InputError.
    """

    grid: Grid
    read: Callable[[int], NDArray[Any]]


@dataclass(frozen=True)
class Nodule:
    """One annotated nodule, in the world.

    Attributes:
        center_lps_mm: centre of its box.
        size_mm: full extents of its box along world x, y, z (``w h d`` of the DLCS24 layout).
        malignant: 1 cancer, 0 benign, None unknown.
        malignancy: a reader's rating 1..5, None unknown.
        label: class name; ``nodule`` where the source has only one class.
        attributes: further flat scalars of the source, carried into COCO ``attributes``.
    """

    nodule_id: str
    patient_id: str
    case_id: str
    center_lps_mm: Triple
    size_mm: Triple
    malignant: int | None = None
    malignancy: float | None = None
    label: str = "nodule"
    split: str = ""
    source: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def diameter_mm(self) -> float:
        """Largest in-plane extent, mm."""
        return max(self.size_mm[:2])


@dataclass(frozen=True)
class Finding:
    """A place that is neither nodule nor healthy: marks on it count neither for nor against a detector.

    Attributes:
        center_lps_mm: where it is.
        diameter_mm: negative where nobody measured it.
    """

    center_lps_mm: Triple
    diameter_mm: float


@dataclass(frozen=True, eq=False)
class Scan:
    """One scan of a source, not yet read.

    Attributes:
        case_id: unique, safe as a file name; becomes the stem of every file made from the scan.
        patient_id: what splits are made by.
        load: reads the voxels when called; raises InputError.
        truth_known: False where the source has no annotation file at all, so that absence of a nodule means nothing.
        excluded: findings that are no training boxes and that an evaluation leaves out of account.
        attributes: further flat scalars of the source, carried into the manifest and each slice's facts.
        source_grid: grid of the scan that this one was made from, in its own index order; None where this one is it,
            or nobody noted it.
    """

    case_id: str
    patient_id: str
    load: Callable[[], Volume]
    nodules: tuple[Nodule, ...] = ()
    split: str = ""
    source: str = ""
    truth_known: bool = True
    excluded: tuple[Finding, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    source_grid: Grid | None = None


@dataclass(frozen=True, eq=False)
class SliceImage:
    """One 2D image of a source that has no volumes, not yet read.

    Attributes:
        image_id: unique, safe as a file name.
        load: returns (Y, X) int16 HU.
        spacing_mm_xy: pixel spacing, None unknown.
        boxes_xyxy_px: (N, 4) pixel edges.
        attributes: one dict of flat scalars per box.
    """

    image_id: str
    patient_id: str
    case_id: str
    load: Callable[[], NDArray[np.int16]]
    spacing_mm_xy: tuple[float, float] | None
    boxes_xyxy_px: FloatArray
    labels: tuple[str, ...] = ()
    attributes: tuple[dict[str, Any], ...] = ()
    split: str = ""


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector returns for one slice image, best first.

    Attributes:
        image_id: COCO image id (int or str, as the truth file has it).
        boxes_xyxy_px: (D, 4) float32, pixel edges of the stored slice.
        scores: (D,) float32 in 0..1.
        labels: (D,) int64 COCO category ids.
    """

    image_id: int | str
    boxes_xyxy_px: FloatArray
    scores: FloatArray
    labels: IntArray

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, eq=False)
class Heatmaps:
    """Why each detection of one image was made, by one method.

    Attributes:
        heatmaps: (D, Y, X) float16 in 0..1, one per detection, on the stored slice's grid.
        raw: (D, h, w) float32 signed map at the layer's own resolution, before ReLU and min-max.
        boxes_xyxy_px, scores, labels: of the explained detections, (D, 4), (D,), (D,).
        matched_annotation_id: (D,) int64 COCO annotation id at IoU >= .5, -1 for a false positive.
        flags: one string per detection; empty, or why the map means little (``constant``, ``zero``, ``nan``).
        channel_shapley: (D, C) float32, what each channel of the slice brings to the score; None where nobody asked.
    """

    image_id: int | str
    method: str
    heatmaps: NDArray[np.float16]
    raw: FloatArray
    boxes_xyxy_px: FloatArray
    scores: FloatArray
    labels: IntArray
    matched_annotation_id: IntArray
    layers: str
    flags: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    channel_shapley: FloatArray | None = None
