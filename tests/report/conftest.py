"""Fixtures of the report's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from .synthetic_run import write_run


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run folder; read only."""
    return write_run(tmp_path_factory.mktemp("run"))
