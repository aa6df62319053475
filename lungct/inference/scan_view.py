"""The searched slices of a scan on the model's grid as batches of stacks, in the memory of a few slices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lungct.ct.axial import axial, on_grid, stacks
from lungct.ct.lung_mask import lungs_of_planes
from lungct.inference.model_grid import hu_range, model_grid
from lungct.inference.searched import Searched, searched_slices
from lungct.inference.windows import Window, lung_windows
from lungct.registry import WITHIN
from lungct.sources.planes import scan_planes
from lungct.types import Grid, Scan, Volume

if TYPE_CHECKING:
    from lungct.models.card import ModelCard

LUNGS, BODY, _ = WITHIN
Batch: TypeAlias = Sequence[tuple[int, NDArray[np.int16]]]
"""z indices and their (C, Y, X) stacks."""


@dataclass(frozen=True)
class Grids:
    """Where the voxels of one scan lie, and which slices are searched.

    Attributes:
        own: in its stored index order.
        canonical: the same voxels in LPS-canonical order.
        model: the model's grid over it.
        searched: the slices of that grid that are searched.
        within: which part of these is searched, one of ``WITHIN``: what was asked for, but the body where no lungs are
            found.
        windows: of each slice of the model's grid that shows lung what to search, by its z; None where not the lungs
            are searched.
    """

    own: Grid
    canonical: Grid
    model: Grid
    searched: Searched
    within: str
    windows: Mapping[int, Window] | None = None

    @property
    def looked_at(self) -> tuple[int, ...]:
        """The z of the searched slices that the network sees, from the feet up."""
        return tuple(z for z in self.searched.z if self.windows is None or z in self.windows)


@dataclass(frozen=True)
class ViewOptions:
    """How a scan is cut up.

    Attributes:
        context: slices in a stack.
        batch: stacks at a time.
        searched: which slices, one of ``SEARCHED``.
        within: which part of them, one of ``WITHIN``.
        override: keep the scan's own spacing where the model does not know its.
    """

    context: int
    batch: int
    searched: str
    within: str
    override: bool


def scan_view(scan: Scan, card: ModelCard, options: ViewOptions) -> Iterator[Grids | Batch]:
    """First the grids, then the stacks of the slices that are looked at in the order of the file.

    For the lungs the scan is read once before: every second plane or so, the whole where it is not stored in planes.

    Raises:
        InputError: what reading the scan raises; a model that no scan can be fitted to.
    """
    lungs = _lungs(scan) if options.within == LUNGS else None
    with scan_planes(scan) as planes:
        view = axial(planes)
        grid = model_grid(view.grid, card, scan.case_id, options.override)
        searched = searched_slices(view.grid, grid, options.searched)
        windows = None if lungs is None else lung_windows(lungs, grid)
        within = BODY if options.within == LUNGS and windows is None else options.within
        grids = Grids(planes.grid, view.grid, grid, searched, within, windows)
        yield grids
        depth = grid.shape_zyx[0]
        order = range(depth - 1, -1, -1) if view.from_head else range(depth)
        held: list[tuple[int, NDArray[np.int16]]] = []
        for one in stacks(on_grid(view, grid, hu_range(card)), order, options.context, set(grids.looked_at)):
            held.append(one)
            if len(held) == options.batch:
                yield held
                held = []
        if held:
            yield held


def _lungs(scan: Scan) -> Volume:
    with scan_planes(scan) as planes:
        return lungs_of_planes(axial(planes))


def own_slices(scan: Scan, wanted: set[int]) -> dict[int, NDArray[Any]]:
    """The (Y, X) HU of some slices of a scan in LPS-canonical order, z -> slice."""
    with scan_planes(scan) as planes:
        return {z: plane for z, plane in axial(planes) if z in wanted} if wanted else {}
