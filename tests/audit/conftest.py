"""Synthetic chests that are without fault, and items made of voxels in memory."""

from __future__ import annotations

import pytest

from lungct.phantom.scan import render_phantom
from lungct.types import Volume

SIZE, SLICES = 128, 120


@pytest.fixture(scope="session")
def chests() -> tuple[Volume, ...]:
    """Three patients; read only."""
    found = tuple(render_phantom(5, number, size=SIZE, slices=SLICES).volume for number in range(3))
    for volume in found:
        volume.hu.flags.writeable = False
    return found
