"""The volumes that share one DICOM series UID, told apart by what their slices say of themselves."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from lungct.io.dicom import VOLUME_TAGS, SliceHeader


def split_volumes(headers: Sequence[SliceHeader]) -> list[tuple[str, tuple[SliceHeader, ...]]]:
    """The volumes that share a series UID, each with what names it, empty where there is only one.

    Where at least half of the positions are taken twice it is not a matter of a few repeated slices: the first of
    :data:`~lungct.io.dicom.VOLUME_TAGS` whose values part the slices into stacks without a repeated position does so
    (phases of the breath or heart, contrast passes, kernels). Where none does, they stay together and
    :func:`~lungct.io.dicom_stack.arrange` refuses them. Copies of one file (same SOPInstanceUID) are no second volume.
    """
    once = without_copies(headers)
    if not holds_several(once):
        return [("", tuple(headers))]
    for number in range(len(VOLUME_TAGS)):
        groups: dict[str, list[SliceHeader]] = defaultdict(list)
        for header in once:
            groups[header.volume_marks[number]].append(header)
        if len(groups) > 1 and all(len(one) > 1 and len(positions(one)) == len(one) for one in groups.values()):
            return [(f"{number}/{mark}", tuple(slices)) for mark, slices in sorted(groups.items())]
    return [("", tuple(headers))]


def without_copies(headers: Sequence[SliceHeader]) -> list[SliceHeader]:
    """One header of each SOPInstanceUID, the last; files without a UID are all kept."""
    return list({header.sop_uid or str(header.path): header for header in headers}.values())


def positions(headers: Sequence[SliceHeader]) -> Counter[tuple[float, ...]]:
    """How many slices there are at each position, to .01 mm."""
    return Counter(tuple(round(one, 2) for one in header.position_lps_mm) for header in headers)


def holds_several(headers: Sequence[SliceHeader]) -> bool:
    """Whether so many positions are taken twice that there must be more volumes than one."""
    taken = positions(headers)
    return len(taken) > 1 and 2 * sum(count > 1 for count in taken.values()) >= len(taken)
