"""The readers' XML files of LIDC-IDRI -> what each of up to four readers drew and rated of each nodule of a series.

A mark needs ratings and a contour. Nodules without ratings or rated zero throughout are smaller than 3 mm; they, and
what a reader called no nodule, are single points. Readings of chest X-rays have another root, ``IdriReadMessage``.

Source: LIDC-IDRI, https://www.cancerimagingarchive.net/collection/lidc-idri/; Armato et al., Medical Physics 38, 2011.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lungct.errors import InputError
from lungct.sources.xml_files import element_name
from lungct.types import BoolArray

CT_READING, X_RAY_READING = "LidcReadMessage", "IdriReadMessage"
RATINGS = {
    "subtlety": "subtlety",
    "internalStructure": "internal_structure",
    "calcification": "calcification",
    "sphericity": "sphericity",
    "margin": "margin",
    "lobulation": "lobulation",
    "spiculation": "spiculation",
    "texture": "texture",
    "malignancy": "malignancy",
}
"""Element -> our name; each from 1 to 5 or 6."""


@dataclass(frozen=True, eq=False)
class Contour:
    """One closed line on one slice.

    Attributes:
        points_xy: (N, 2) pixels, the first ones *outside* of what the line encloses.
        is_hole: it encloses what is not nodule.
    """

    sop_uid: str
    z_mm: float
    points_xy: NDArray[np.int64]
    is_hole: bool

    def inside(self) -> tuple[int, int, BoolArray]:
        """The enclosed pixels without the line itself: first column and row, and a (Y, X) mask."""
        low = self.points_xy.min(axis=0)
        width, height = (self.points_xy.max(axis=0) - low + 1).tolist()
        image = Image.new("L", (width, height))
        points = [(float(x), float(y)) for x, y in self.points_xy - low]
        ImageDraw.Draw(image).polygon(points, fill=1, outline=0)
        return int(low[0]), int(low[1]), np.asarray(image) > 0


@dataclass(frozen=True, eq=False)
class Mark:
    """What one reader drew and rated of one nodule; ``ratings`` by our names, zeros (not rated) left out."""

    reader: int
    ratings: dict[str, int]
    contours: tuple[Contour, ...]


@dataclass(frozen=True, eq=False)
class Reading:
    """One XML file: every reader's marks of one CT series.

    Attributes:
        points: what is neither a rated nodule nor healthy, as contours of one point.
    """

    series_uid: str
    marks: tuple[Mark, ...]
    points: tuple[Contour, ...]


def read_reading(path: Path) -> Reading:
    """The marks of one file whose root is ``LidcReadMessage``.

    Raises:
        InputError: broken XML, no series, a number that is none; says no more of the file than what is missing.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError, UnicodeError, ValueError, LookupError) as problem:
        raise InputError.of(path, f"not readable as XML ({type(problem).__name__})") from None
    for element in root.iter():
        element.tag = element_name(element)
    series_uid = (root.findtext("ResponseHeader/SeriesInstanceUid") or "").strip()
    if not series_uid:
        raise InputError.of(path, "no SeriesInstanceUid in its ResponseHeader", "is it a reading of LIDC-IDRI?")
    try:
        marks, points = _marks_and_points(root)
    except ValueError as problem:
        raise InputError.of(path, str(problem)) from None
    return Reading(series_uid, tuple(marks), tuple(points))


def _marks_and_points(root: ElementTree.Element) -> tuple[list[Mark], list[Contour]]:
    marks, points = [], []
    for reader, session in enumerate(root.findall("readingSession")):
        points += [_contour(one, "locus") for one in session.findall("nonNodule")]
        for nodule in session.findall("unblindedReadNodule"):
            contours = [_contour(roi, "edgeMap") for roi in nodule.findall("roi")]
            lines = tuple(one for one in contours if len(one.points_xy) > 1)
            points += [one for one in contours if len(one.points_xy) == 1]
            ratings = dict(_ratings(nodule))
            if ratings and lines:
                marks.append(Mark(reader, ratings, lines))
    return marks, [one for one in points if len(one.points_xy) == 1]


def _ratings(nodule: ElementTree.Element) -> Iterator[tuple[str, int]]:
    for theirs, ours in RATINGS.items():
        text = (nodule.findtext(f"characteristics/{theirs}") or "").strip()
        value = _whole(text, theirs) if text else 0
        if value > 0:
            yield ours, value


def _contour(element: ElementTree.Element, point: str) -> Contour:
    pixels = [
        (_whole(one.findtext("xCoord"), "xCoord"), _whole(one.findtext("yCoord"), "yCoord"))
        for one in element.findall(point)
    ]
    try:
        z_mm = float(element.findtext("imageZposition") or "nan")
    except ValueError:
        raise ValueError("an imageZposition is no number") from None
    return Contour(
        sop_uid=(element.findtext("imageSOP_UID") or "").strip(),
        z_mm=z_mm,
        points_xy=np.array(pixels if len(set(pixels)) > 1 else pixels[:1], dtype=np.int64).reshape(-1, 2),
        is_hole=(element.findtext("inclusion") or "").strip().upper() == "FALSE",
    )


def _whole(text: str | None, what: str) -> int:
    try:
        value = int(text or "")
    except ValueError:
        raise ValueError(f"a {what} is no whole number") from None
    if not 0 <= value < 1 << 16:
        raise ValueError(f"a {what} is {value}")
    return value
