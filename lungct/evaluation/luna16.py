"""Judge marks on whole scans by the rules of LUNA16, and by stricter criteria of what a hit is.

With d the diameter of a finding (10 mm where the source gives a negative one) and r the distance of a mark to it,
the mark hits it where r^2 < (d/2)^2. Then

- a nodule is found at the highest probability of its hits; its further hits are *doubles* and count neither way;
- a mark may hit several nodules and finds each of them;
- a mark on an excluded finding is *ignored*, unless it hits a nodule too;
- every other mark is a false positive;
- of a scan with more than 100 marks those are kept whose probability is above that of the 101st.

Stricter criteria put another condition in the place of r^2 < (d/2)^2 for nodules: a fixed distance in mm, or an IoU of
the boxes; excluded findings keep theirs.

Source: Setio 2017, Validation, comparison, and combination of algorithms for automatic detection of pulmonary nodules;
the challenge's evaluation program.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lungct.errors import UsageError
from lungct.evaluation.froc import RATES, FrocCurve, Tally
from lungct.registry import UNMEASURED_DIAMETER_MM
from lungct.types import BoolArray, FloatArray, IntArray

MOST_MARKS = 100
GRID = np.linspace(0.125, 8.0, 10_000)
"""The rates of false positives per scan at which the challenge's program samples a curve."""


@dataclass(frozen=True, eq=False)
class Findings:
    """N findings or marks: ``scan`` (N,) place of the scan, ``center_lps_mm`` (N, 3), ``diameter_mm`` (N,) negative
    where not measured, ``size_mm`` (N, 3) extents of the box, NaN where unknown; ``score`` (N,) of marks."""

    scan: IntArray
    center_lps_mm: FloatArray
    diameter_mm: FloatArray
    size_mm: FloatArray
    score: FloatArray

    def __len__(self) -> int:
        return len(self.scan)

    def only(self, keep: BoolArray | IntArray) -> Findings:
        """Some of them."""
        mm = (self.center_lps_mm[keep], self.diameter_mm[keep], self.size_mm[keep])
        return Findings(self.scan[keep], *mm, self.score[keep])

    @property
    def measured_mm(self) -> FloatArray:
        """(N,) diameter, 10 mm where it is negative."""
        return np.where(self.diameter_mm < 0, UNMEASURED_DIAMETER_MM, self.diameter_mm)

    @property
    def box_mm(self) -> FloatArray:
        """(N, 6) lower and upper corner of the box; a cube of the diameter where the extents are not known."""
        cube = np.repeat(self.measured_mm[:, None], 3, axis=1)
        half = np.where(np.isnan(self.size_mm), cube, self.size_mm) / 2
        return np.concatenate([self.center_lps_mm - half, self.center_lps_mm + half], axis=1)


@dataclass(frozen=True)
class Criterion:
    """When a mark hits a nodule; ``radius`` (the challenge's), ``distance`` below ``least`` mm, ``iou`` of at least
    ``least``."""

    kind: str = "radius"
    least: float = 0.0

    def __str__(self) -> str:
        return {"radius": "radius", "distance": f"{self.least:g} mm", "iou": f"IoU {self.least:g}"}[self.kind]

    @classmethod
    def parse(cls, text: str) -> Criterion:
        """The criterion of ``radius``, ``5mm`` or ``iou0.3``; blanks and case do not matter.

        Raises:
            UsageError: none of these, no positive distance, an IoU outside 0..1.
        """
        bare = re.sub(r"[\s:=]", "", text.lower())
        if bare == "radius":
            return cls()
        found = re.fullmatch(r"(?P<mm>\d*\.?\d+)mm|iou(?P<iou>\d*\.?\d+)", bare)
        if found and found["mm"] and float(found["mm"]) > 0:
            return cls("distance", float(found["mm"]))
        if found and found["iou"] and 0 < float(found["iou"]) <= 1:
            return cls("iou", float(found["iou"]))
        raise UsageError(
            f"{text!r} is no condition of a hit", "expected radius, a distance as 5mm, or an IoU as iou0.3"
        )


@dataclass(frozen=True, eq=False)
class ScanFinds:
    """What became of every nodule and every mark.

    Attributes:
        found_score: (G,) best score of a mark that hits the nodule, -inf where none does.
        false, ignored: (M,) marks that are false positives, and those on excluded findings.
        doubles: hits beyond the first, over all nodules.
    """

    found_score: FloatArray
    false: BoolArray
    ignored: BoolArray
    doubles: int


def strongest(marks: Findings, most: int = MOST_MARKS) -> Findings:
    """The marks of each scan above the score of its ``most + 1``-th; marks of equal score there all fall away."""
    order = np.lexsort((-marks.score, marks.scan))
    scan = marks.scan[order]
    first = np.searchsorted(scan, scan, side="left")
    beyond = np.arange(len(scan)) - first == most
    limit = np.full(int(scan.max(initial=-1)) + 1, -np.inf)
    limit[scan[beyond]] = marks.score[order[beyond]]
    return marks.only(marks.score > limit[marks.scan])


def find_nodules(
    nodules: Findings, marks: Findings, excluded: Findings, criterion: Criterion | None = None
) -> ScanFinds:
    """Apply the rules to the marks that were kept.

    Args:
        nodules: the findings that count.
        marks: see :func:`strongest`.
        excluded: findings that are neither nodule nor false positive; may be empty.
        criterion: what hits a nodule; the challenge's radius if left out.
    """
    criterion = criterion or Criterion()
    nodule, mark = same_scan(nodules.scan, marks.scan)
    hits = _hits(nodules.only(nodule), marks.only(mark), criterion)
    nodule, mark = nodule[hits], mark[hits]
    found_score = np.full(len(nodules), -np.inf)
    np.maximum.at(found_score, nodule, marks.score[mark])
    hitting = np.zeros(len(marks), dtype=bool)
    hitting[mark] = True
    other, near = same_scan(excluded.scan, marks.scan)
    near = near[_hits(excluded.only(other), marks.only(near), Criterion())]
    ignored = np.zeros(len(marks), dtype=bool)
    ignored[near] = True
    ignored &= ~hitting
    return ScanFinds(found_score, ~hitting & ~ignored, ignored, len(nodule) - len(np.unique(nodule)))


def same_scan(first: IntArray, second: IntArray) -> tuple[IntArray, IntArray]:
    """(P,) and (P,): every pair of places of the two (N,) and (M,) lists that are on one scan."""
    order = np.argsort(second, kind="stable")
    low = np.searchsorted(second[order], first, side="left")
    count = np.searchsorted(second[order], first, side="right") - low
    of_first = np.repeat(np.arange(len(first)), count)
    step = np.arange(len(of_first)) - np.repeat(np.cumsum(count) - count, count)
    return of_first, order[np.repeat(low, count) + step]


def _hits(nodules: Findings, marks: Findings, criterion: Criterion) -> BoolArray:
    """(P,) whether each mark hits the nodule of its row."""
    if criterion.kind == "iou":
        return box_iou(nodules.box_mm, marks.box_mm) >= criterion.least
    squared = ((nodules.center_lps_mm - marks.center_lps_mm) ** 2).sum(axis=1)
    reach = nodules.measured_mm / 2 if criterion.kind == "radius" else np.full(len(nodules), criterion.least)
    near: BoolArray = squared < reach**2
    return near


def box_iou(a: FloatArray, b: FloatArray) -> FloatArray:
    """(P,) IoU of two (P, 6) lists of boxes, lower then upper corner."""
    shared: FloatArray = np.clip(np.minimum(a[:, 3:], b[:, 3:]) - np.maximum(a[:, :3], b[:, :3]), 0, None).prod(axis=1)
    union = (a[:, 3:] - a[:, :3]).prod(axis=1) + (b[:, 3:] - b[:, :3]).prod(axis=1) - shared
    iou: FloatArray = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return iou


def tally(nodules: Findings, marks: Findings, finds: ScanFinds, scans: int) -> Tally:
    """What the FROC curve is drawn from; ``scans`` counts those without a nodule too."""
    found = np.isfinite(finds.found_score)
    return Tally(
        finds.found_score[found],
        nodules.scan[found],
        marks.score[finds.false],
        marks.scan[finds.false],
        nodules.scan,
        scans,
    )


def grid_sensitivities(curve: FrocCurve, rates: Sequence[float] = RATES) -> FloatArray:
    """(R,) sensitivity at each rate by the grid rule of the challenge's program.

    The curve, straight between its points, is sampled at 10,000 rates from 1/8 to 8, and each rate takes the sample
    nearest to it, up to 4e-4 away.
    """
    sampled: FloatArray = np.interp(grid_rates(rates), curve.fp_per_image, curve.sensitivity)
    return sampled


def grid_rates(rates: Sequence[float] = RATES) -> FloatArray:
    """(R,) the sample of the grid that is nearest to each rate."""
    nearest: FloatArray = GRID[np.abs(GRID - np.asarray(rates, dtype=np.float64)[:, None]).argmin(axis=1)]
    return nearest


def first_reached(curve: FrocCurve, rates: Sequence[float] = RATES) -> FloatArray:
    """(R,) sensitivity with which the curve first comes to each rate, straight between its points, level after them.

    Where a step of the curve stands exactly on a rate this is its foot; :attr:`FrocCurve.at` takes its top.
    """
    x, y = curve.fp_per_image, curve.sensitivity
    high = np.clip(np.searchsorted(x, rates, side="left"), 1, max(len(x) - 1, 1))
    low, high = high - 1, np.minimum(high, len(x) - 1)
    width = x[high] - x[low]
    share = np.divide(np.asarray(rates) - x[low], width, out=np.ones(len(width)), where=width > 0)
    reached: FloatArray = y[low] + np.clip(share, 0, 1) * (y[high] - y[low])
    return reached
