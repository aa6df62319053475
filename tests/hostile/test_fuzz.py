"""A few seconds of what ``python -m tests.hostile.fuzz`` does for longer by hand."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.hostile.fuzz import fuzz


@pytest.fixture
def _log_level_kept() -> Iterator[None]:
    """The fuzzer silences the log for good, as a program may and a test may not."""
    logger = logging.getLogger("lungct")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.mark.usefixtures("_log_level_kept")
def test_readers_return_or_refuse() -> None:
    answers, problems = fuzz(4.0, seed=1)
    assert not problems, problems[0]
    assert any(name.endswith("read") for name in answers)
    assert any(name.endswith("refused") for name in answers)
