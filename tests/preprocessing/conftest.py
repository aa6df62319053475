"""The tiny DLCS24 folder as a fixture."""

from __future__ import annotations

from pathlib import Path

import pytest

from .tiny_dlcs import write_dlcs


@pytest.fixture
def dlcs(tmp_path: Path) -> Path:
    """Four patients, the last one without nodules, no split stated."""
    write_dlcs(tmp_path / "dlcs")
    return tmp_path / "dlcs"
