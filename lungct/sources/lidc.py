"""LIDC-IDRI: a tree of DICOM series and the XML files of their readers, wherever in the tree these lie.

A nodule is what at least ``lidc_readers`` of the four readers drew (3 as in LUNA16), outlines being of one nodule by
their overlap, see :mod:`lungct.ct.consensus`; its box holds the voxels that half of its readers agree on. Its ratings
are the readers' means. What fewer readers drew, nodules below 3 mm and what a reader called no nodule are carried as
excluded findings, as in LUNA16: they are neither nodules nor healthy. Case ids are those of the same series in LUNA16.

Source: Armato et al., The Lung Image Database Consortium (LIDC) and Image Database Resource Initiative (IDRI),
Medical Physics 38, 2011; Setio et al., LUNA16, Medical Image Analysis 42, 2017, for the rule of three readers.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from lungct.ct.boxes import world_box
from lungct.ct.consensus import Agreed, Outline, agree
from lungct.errors import InputError
from lungct.io.dicom import SliceHeader
from lungct.io.dicom_stack import Stack, arrange
from lungct.io.dicom_voxels import read_series
from lungct.sources.dicom_series import case_of, patient_of, series_below
from lungct.sources.lidc_readings import CT_READING, RATINGS, X_RAY_READING, Contour, Mark, Reading, read_reading
from lungct.sources.source import Contents, SourceOptions
from lungct.sources.xml_files import first_xml_files, root_of, xml_files
from lungct.types import Finding, FloatArray, IntArray, Nodule, Scan, Triple

logger = logging.getLogger("lungct")
NAME = "lidc"
UNMEASURED_MM = -1.0


def recognises(path: Path) -> bool:
    """Whether the first XML files below a folder are readings."""
    return path.is_dir() and any(root_of(one) in (CT_READING, X_RAY_READING) for one in first_xml_files(path))


def read(path: Path, options: SourceOptions) -> Contents:
    """Every CT series below ``path``; the truth of one without a reading is not known.

    Raises:
        InputError: a reading that is broken.
    """
    readings = _readings(path)
    scans = [_scan_of(series, readings.pop(series[0].series_uid, None), options) for series in series_below(path)]
    if readings:
        logger.warning("%s: %d readings left out: their series is not there", path, len(readings))
    return Contents(NAME, tuple(sorted(scans, key=lambda scan: scan.case_id)))


def _readings(path: Path) -> dict[str, Reading]:
    skipped, found = Counter[str](), dict[str, Reading]()
    for file in xml_files(path):
        root = root_of(file)
        if root != CT_READING:
            skipped["readings of chest X-rays" if root == X_RAY_READING else "XML files of another kind"] += 1
            continue
        reading = read_reading(file)
        if found.setdefault(reading.series_uid, reading) is not reading:
            skipped["second readings of a series"] += 1
    for what, count in sorted(skipped.items()):
        logger.warning("%s: %d files left out: %s", path, count, what)
    return found


def _scan_of(series: Sequence[SliceHeader], reading: Reading | None, options: SourceOptions) -> Scan:
    case_id = case_of(series, options.naming)
    patient_id = patient_of(series, case_id, options.naming)
    load = partial(read_series, tuple(series), case_id, fill_gaps=options.fill_gaps)
    unknown = Scan(case_id, patient_id, load, source=NAME, truth_known=False)
    if reading is None:
        return unknown
    try:
        places = _Places.of(arrange(series, case_id, fill_gaps=options.fill_gaps), series)
    except InputError:
        return unknown  # load says why it is no volume
    drawn = [(mark, voxels) for mark in reading.marks if len(voxels := _voxels(mark, places))]
    groups = agree([Outline(mark.reader, voxels) for mark, voxels in drawn])
    agreed = [group for group in groups if group.readers >= options.lidc_readers]
    fewer = [places.box(group.voxels_zyx) for group in groups if group.readers < options.lidc_readers]
    points = filter(None, map(places.point, reading.points))
    if absent := sum(places.slice_of(one) is None for mark in reading.marks for one in mark.contours):
        logger.warning("%s: %d contours lie on slices that are not there", case_id, absent)
    return replace(
        unknown,
        truth_known=True,
        nodules=tuple(
            _nodule(
                group,
                [drawn[one][0] for one in group.outlines],
                places.box(group.voxels_zyx),
                scan=unknown,
                number=number,
            )
            for number, group in enumerate(agreed, 1)
        ),
        excluded=(
            *(Finding(center, max(size)) for center, size in fewer),
            *(Finding(point, UNMEASURED_MM) for point in points),
        ),
    )


@dataclass(frozen=True)
class _Places:
    """Where the pixels lie that readers speak of.

    Attributes:
        slice_of_uid: of every file, also of those that are left out of the stack for another at their place.
        heights_mm: z of each slice of the stack.
    """

    stack: Stack
    slice_of_uid: Mapping[str, int]
    heights_mm: FloatArray

    @classmethod
    def of(cls, stack: Stack, series: Sequence[SliceHeader]) -> _Places:
        normal = stack.grid.direction_matrix[:, 2]
        along = np.array([one.position_lps_mm for one in stack.slices]) @ normal
        nearest = {one.sop_uid: int(np.argmin(np.abs(along - one.position_lps_mm @ normal))) for one in series}
        nearest.pop("", None)
        return cls(stack, nearest, np.array([one.position_lps_mm[2] for one in stack.slices]))

    def slice_of(self, contour: Contour) -> int | None:
        """The slice that was drawn on, by its UID or, where files were written anew, by its height; None: not there."""
        if contour.sop_uid in self.slice_of_uid:
            return self.slice_of_uid[contour.sop_uid]
        far = np.abs(self.heights_mm - contour.z_mm)
        nearest = int(np.argmin(far))
        return nearest if far[nearest] <= self.stack.grid.spacing_mm_zyx[0] / 2 else None

    def on_grid(self, voxels_zyx: IntArray) -> FloatArray:
        """(N, 3) pixels of slices -> (N, 3) x, y, z on the straight grid that tilted slices are moved onto."""
        found = np.asarray(voxels_zyx, dtype=np.float64)[:, ::-1].copy()
        found[:, 2] = self.stack.z_of_slice[voxels_zyx[:, 0]]
        if self.stack.shift_px_xy is not None:
            found[:, :2] += self.stack.shift_px_xy[voxels_zyx[:, 0]]
        return found

    def box(self, voxels_zyx: IntArray) -> tuple[Triple, Triple]:
        """Centre and extents in LPS mm."""
        xyz = self.on_grid(voxels_zyx)
        return world_box(xyz.min(axis=0) - 0.5, xyz.max(axis=0) + 0.5, self.stack.grid)

    def point(self, contour: Contour) -> Triple | None:
        """Of a contour of one point, in LPS mm; None where its slice is not there."""
        z = self.slice_of(contour)
        if z is None:
            return None
        return self.box(np.array([[z, *contour.points_xy[0, ::-1]]]))[0]


def _voxels(mark: Mark, places: _Places) -> IntArray:
    """(N, 3) z, y, x inside the solid contours of a mark and not inside a hole."""
    solid, holes = set[tuple[int, ...]](), set[tuple[int, ...]]()
    for contour in mark.contours:
        z = places.slice_of(contour)
        if z is not None:
            x, y, mask = contour.inside()
            rows, columns = np.nonzero(mask)
            (holes if contour.is_hole else solid).update(
                (z, row + y, column + x) for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
            )
    return np.array(sorted(solid - holes), dtype=np.int64).reshape(-1, 3)


def _nodule(group: Agreed, marks: Sequence[Mark], box: tuple[Triple, Triple], *, scan: Scan, number: int) -> Nodule:
    """Ratings are means over the outlines of the nodule."""
    means: dict[str, Any] = {}
    for name in RATINGS.values():
        values = [mark.ratings[name] for mark in marks if name in mark.ratings]
        if values:
            means[name] = round(fmean(values), 4)
    votes = " ".join(str(mark.ratings["malignancy"]) for mark in marks if "malignancy" in mark.ratings)
    return Nodule(
        nodule_id=f"{scan.case_id}_{number:02d}",
        patient_id=scan.patient_id,
        case_id=scan.case_id,
        center_lps_mm=box[0],
        size_mm=box[1],
        malignancy=means.pop("malignancy", None),
        source=NAME,
        attributes={"readers": group.readers, "malignancy_votes": votes, **means},
    )
