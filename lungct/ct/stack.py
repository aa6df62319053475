"""A slice with its neighbours as channels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def stack(hu: NDArray[np.int16], z: int, context: int) -> NDArray[np.int16]:
    """(C, Y, X) int16: slices z - C//2 .. z + C//2 of a (Z, Y, X) volume.

    Beyond the volume's ends its first or last slice is repeated, so C may be larger than Z.

    Args:
        context: C, odd.
    """
    half = context // 2
    return hu[np.clip(np.arange(z - half, z + half + 1), 0, len(hu) - 1)]
