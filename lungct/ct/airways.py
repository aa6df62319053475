"""The trachea and main bronchi in the air of a chest, followed from slice to slice downwards."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from lungct.ct.morphology import IN_SLICE_AXES, grown, worn
from lungct.ct.pieces import label_in_slices, sizes_of
from lungct.types import BoolArray, IntArray, Triple

LARGEST_MM2 = 900.0
WIDEST_MM = 60.0
SHORTEST_MM = 40.0


def large_airways(air: BoolArray, spacing_mm_zyx: Triple) -> BoolArray:
    """(Z, Y, X) the tubes in (Z, Y, X) enclosed air, LPS-canonical order: z grows to the head.

    A tube is a chain of in-slice pieces, each of at most 9 cm^2 and 6 cm, that has no air over its first piece and goes
    on for at least 4 cm; a shorter one is a tip of the lung. It ends where its air opens into something larger, as a
    bronchus does into the lung. Tubes of the air worn down by a pixel count too, as noise makes holes in thin walls.
    """
    thin = _tubes(worn(air, IN_SLICE_AXES), spacing_mm_zyx)
    tubes = grown(thin, IN_SLICE_AXES) & air
    tubes |= _tubes(air, spacing_mm_zyx)
    return tubes


def _tubes(air: BoolArray, spacing_mm_zyx: Triple) -> BoolArray:
    pieces, count = label_in_slices(air)
    narrow = _narrow(pieces, count, spacing_mm_zyx)
    chain_of = np.zeros(count + 1, dtype=np.intp)
    highest, lowest = [0], [0]
    for z in range(len(air) - 1, -1, -1):
        for piece, above in _most_above(pieces, z, narrow):
            if above == 0:
                highest.append(z)
                lowest.append(z)
                chain_of[piece] = len(highest) - 1
            else:
                chain_of[piece] = chain_of[above]
                lowest[chain_of[above]] = z
    is_tube = (np.asarray(highest) - lowest + 1) * spacing_mm_zyx[0] >= SHORTEST_MM
    is_tube[0] = False
    return np.asarray(is_tube[chain_of][pieces])


def _narrow(pieces: IntArray, count: int, spacing_mm_zyx: Triple) -> BoolArray:
    """(count + 1,) which pieces can be a tube's cross-section."""
    _, step_y, step_x = spacing_mm_zyx
    sizes_mm2 = sizes_of(pieces, count) * step_y * step_x
    narrow: BoolArray = (sizes_mm2 > 0) & (sizes_mm2 <= LARGEST_MM2)
    for piece, (_, y, x) in enumerate(ndimage.find_objects(pieces), 1):
        narrow[piece] &= max((y.stop - y.start) * step_y, (x.stop - x.start) * step_x) <= WIDEST_MM
    return narrow


def _most_above(pieces: IntArray, z: int, narrow: BoolArray) -> list[tuple[int, int]]:
    """Each narrow piece of slice ``z`` and the piece that covers most of it from above, 0 where none does."""
    if z + 1 == len(pieces):
        return [(int(piece), 0) for piece in np.unique(pieces[z]) if narrow[piece]]
    inside = narrow[pieces[z]]
    below, above = pieces[z][inside].astype(np.int64), pieces[z + 1][inside]
    pairs, shared = np.unique(below * len(narrow) + above, return_counts=True)
    best: dict[int, tuple[int, int]] = {}
    for piece, over, count in zip(*np.divmod(pairs, len(narrow)), shared, strict=True):
        best[int(piece)] = max(best.get(int(piece), (0, 0)), (int(count) if over else 0, int(over)))
    return [(piece, over) for piece, (_, over) in best.items()]
