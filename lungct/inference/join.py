"""Chains of slice detections that are parts of one nodule, joined: the detector's second box on it, and what a gap cut.

By falling best score each chain joins the first of the nodules so far, of its category, that it is part of, or begins
one; what has grown by that may reach another, so this is done again until nothing joins. Two are of one nodule where,
over the slices that both span, with |b| the area of a box, those of missed slices linear between their neighbours,

    sum_z |a_z and b_z| / sum_z min(|a_z|, |b_z|) >= overlap;

or the same with the score-weighted mean box of the better one in place of its a_z. So a small mark inside a large one
is of it, and two nodules side by side are not. Where they span no slice together, the boxes at the ends that face each
other count, if they are at most ``gap_mm``, or one missed slice, apart.

What joins adds its slices; on a slice that both have, the boxes are fused by their scores as in linking, and the better
score stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lungct.inference.nodule import Chain
from lungct.inference.searched import TOLERANCE_MM, Searched
from lungct.types import FloatArray


@dataclass(frozen=True)
class JoinOptions:
    """When two chains are one nodule.

    Attributes:
        overlap: least share of the smaller's area; 0 joins none.
        gap_mm: largest distance of the last slice of one and the first of the other; one missed slice always may be.
    """

    overlap: float = 0.5
    gap_mm: float = 5.0


def joined(chains: Sequence[Chain], searched: Searched, spacing_mm: float, options: JoinOptions) -> list[Chain]:
    """The nodules that the chains of one scan are parts of, best first."""
    if options.overlap == 0:
        return list(chains)
    found = list(chains)
    while len(fewer := _joined_once(found, searched, spacing_mm, options)) < len(found):
        found = fewer
    return fewer


def _joined_once(chains: Sequence[Chain], searched: Searched, spacing_mm: float, options: JoinOptions) -> list[Chain]:
    order = sorted(chains, key=lambda one: (-max(one.scores), one.z, one.boxes[0].tolist()))
    nodules: list[_Solid] = []
    bounds = np.zeros((len(order), 6))
    for chain in order:
        own = _Solid(chain)
        low, high = own.bounds[:3], own.bounds[3:]
        known = bounds[: len(nodules)]
        # Anything nearer along z than the scan is long may still be in reach: most fall away across.
        near = (known[:, :2] < high[:2]).all(axis=1) & (known[:, 3:5] > low[:2]).all(axis=1)
        for place in np.flatnonzero(near).tolist():
            if _are_one(nodules[place], own, searched, spacing_mm, options):
                nodules[place] = _Solid(_together(nodules[place].chain, chain))
                bounds[place] = nodules[place].bounds
                break
        else:
            bounds[len(nodules)] = own.bounds
            nodules.append(own)
    return [one.chain for one in nodules]


class _Solid:
    """A chain with a box on every slice from its first to its last.

    Attributes:
        mean: (4,) its score-weighted box.
        bounds: (6,) least and largest x, y px and z.
    """

    def __init__(self, chain: Chain) -> None:
        self.chain, self.first, self.last = chain, chain.z[0], chain.z[-1]
        boxes = np.asarray(chain.boxes)
        every = np.arange(self.first, self.last + 1)
        self._boxes = np.stack([np.interp(every, chain.z, side) for side in boxes.T], axis=1)
        weights = np.maximum(chain.scores, 1e-9)
        self.mean = np.average(boxes, axis=0, weights=weights)
        self.bounds = np.concatenate([boxes[:, :2].min(0), [self.first], boxes[:, 2:].max(0), [self.last]])

    def between(self, first: int, last: int) -> FloatArray:
        """(n, 4) its boxes on slices ``first`` to ``last``, of which it has all."""
        return self._boxes[first - self.first : last - self.first + 1]


def _are_one(a: _Solid, b: _Solid, searched: Searched, spacing_mm: float, options: JoinOptions) -> bool:
    if a.chain.label != b.chain.label:
        return False
    first, last = max(a.first, b.first), min(a.last, b.last)
    if first <= last:
        theirs = b.between(first, last)
        mean = np.broadcast_to(a.mean, theirs.shape)
        return any(_overlap(ours, theirs, options.overlap) for ours in (a.between(first, last), mean))
    missed = searched.rank(first) - searched.rank(last) - 1  # one ends on slice ``last``, the other begins on ``first``
    if missed > 1 and (first - last) * spacing_mm > options.gap_mm + TOLERANCE_MM:
        return False
    lower, upper = (a, b) if a.last == last else (b, a)
    return _overlap(lower.between(last, last), upper.between(first, first), options.overlap)


def _overlap(ours: FloatArray, theirs: FloatArray, least: float) -> bool:
    """Whether (n, 4) boxes share ``least`` of the smaller ones' areas, all together."""
    low, high = np.maximum(ours[:, :2], theirs[:, :2]), np.minimum(ours[:, 2:], theirs[:, 2:])
    shared = (high - low).clip(0).prod(axis=1).sum()
    smaller = np.minimum(*((one[:, 2:] - one[:, :2]).prod(axis=1) for one in (ours, theirs))).sum()
    return bool(shared > 0 and shared >= least * smaller)


def _together(strong: Chain, weak: Chain) -> Chain:
    """One chain of two; of two detections on one slice the better one is remembered."""
    rows = {row[0]: row[1:] for row in _rows(strong)}
    for z, box, score, member in _rows(weak):
        if z not in rows:
            rows[z] = box, score, member
            continue
        other, best, first = rows[z]
        weights = np.maximum([best, score], 1e-9)
        fused = np.average([other, box], axis=0, weights=weights)
        rows[z] = (fused, best, first) if best >= score else (fused, score, member)
    slices = sorted(rows)
    boxes, scores, members = zip(*(rows[z] for z in slices), strict=True)
    return Chain(strong.label, slices, list(boxes), list(scores), list(members))


def _rows(chain: Chain) -> list[tuple[int, FloatArray, float, int]]:
    return list(zip(chain.z, chain.boxes, chain.scores, chain.members, strict=True))
