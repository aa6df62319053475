"""Several readers' outlines of one scan -> the nodules that they agree on, by how their voxels overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lungct.types import IntArray

LEAST_OVERLAP = 0.25
AGREEMENT = 0.5


@dataclass(frozen=True, eq=False)
class Outline:
    """What one reader drew of one nodule.

    Attributes:
        reader: who; a reader may have drawn one nodule as two.
        voxels_zyx: (N, 3) indices, each once.
    """

    reader: int
    voxels_zyx: IntArray


@dataclass(frozen=True, eq=False)
class Agreed:
    """One nodule.

    Attributes:
        outlines: numbers of the outlines that are of it.
        readers: how many readers drew it.
        voxels_zyx: (N, 3) indices of the voxels in the outlines of at least half of its readers.
    """

    outlines: tuple[int, ...]
    readers: int
    voxels_zyx: IntArray


def agree(outlines: Sequence[Outline]) -> list[Agreed]:
    """Group outlines into nodules, by their first voxel; the order of readers and outlines has no influence.

    Two readers mean the same nodule where their outlines share at least a quarter of the smaller one, and nodules are
    the connected components of that relation, so one reader's whole joins another's two parts. That a single voxel is
    not enough keeps neighbouring nodules apart whose outlines only touch.

    Source: Armato et al., The Lung Image Database Consortium (LIDC) and Image Database Resource Initiative (IDRI),
    Medical Physics 38, 2011, matches outlines by overlap too, decided by eye. Hancock & Magnan, Lung nodule malignancy
    classification using only radiologist-quantified image features, Journal of Medical Imaging 3, 2016 (pylidc), joins
    outlines nearer than a slice thickness, and takes voxels that half of the readers agree on, as is done here.
    """
    shape = tuple(np.max([one.voxels_zyx.max(axis=0) for one in outlines], axis=0) + 1) if outlines else (0, 0, 0)
    places = [np.sort(np.ravel_multi_index(tuple(one.voxels_zyx.T), shape)) for one in outlines]
    pairs = [
        (i, j)
        for i in range(len(outlines))
        for j in range(i)
        if outlines[i].reader != outlines[j].reader and _overlap(places[i], places[j]) >= LEAST_OVERLAP
    ]
    rows, columns = np.array(pairs, dtype=int).reshape(-1, 2).T
    links = coo_array((np.ones(len(pairs)), (rows, columns)), shape=(len(outlines), len(outlines)))
    groups: NDArray[Any] = connected_components(links, directed=False)[1] if outlines else np.zeros(0, int)
    found = []
    for group in range(groups.max(initial=-1) + 1):
        members = np.flatnonzero(groups == group).tolist()
        by_reader = {outlines[one].reader: np.zeros(0, np.int64) for one in members}
        for one in members:
            by_reader[outlines[one].reader] = np.union1d(by_reader[outlines[one].reader], places[one])
        voxels, votes = np.unique(np.concatenate(list(by_reader.values())), return_counts=True)
        kept = np.unravel_index(voxels[votes >= AGREEMENT * len(by_reader)], shape)
        found.append(Agreed(tuple(members), len(by_reader), np.stack(kept, axis=1)))
    return sorted(found, key=lambda one: tuple(one.voxels_zyx[0].tolist()))


def _overlap(one: IntArray, other: IntArray) -> float:
    """Shared voxels over those of the smaller outline."""
    return len(np.intersect1d(one, other, assume_unique=True)) / min(len(one), len(other))
