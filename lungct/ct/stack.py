"""A slice with its neighbours as channels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def stack(hu: NDArray[np.int16], z: int, context: int) -> NDArray[np.int16]:
    """(C, Y, X) int16: slices z - C//2 .. z + C//2 of a (Z, Y, X) volume; a missing neighbour repeats slice z.

    Args:
        context: C, odd.
    """
    half = context // 2
    wanted = [one if 0 <= one < len(hu) else z for one in range(z - half, z + half + 1)]
    return np.stack([hu[one] for one in wanted])
