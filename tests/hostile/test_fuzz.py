"""A few seconds of what ``python -m tests.hostile.fuzz`` does for longer by hand."""

from __future__ import annotations

from tests.hostile.fuzz import fuzz


def test_readers_return_or_refuse() -> None:
    answers, problems = fuzz(4.0, seed=1)
    assert not problems, problems[0]
    assert any(name.endswith("read") for name in answers)
    assert any(name.endswith("refused") for name in answers)
