"""What is taken over from an interrupted run, and what a worker that is killed looks like."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lungct.errors import EnvironmentError_
from lungct.preprocessing import cases
from lungct.preprocessing.cases import Ledger, Running, run_cases


def test_cases_of_another_version_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Ledger.of(tmp_path, {"spacing": 1}).store("a", "key", {"case_id": "a"}, [])
    assert Ledger.of(tmp_path, {"spacing": 1}).finished("a", "key") == {"case_id": "a"}
    assert Ledger.of(tmp_path, {"spacing": 2}).finished("a", "key") is None
    monkeypatch.setattr(cases, "__version__", "another")
    assert Ledger.of(tmp_path, {"spacing": 1}).finished("a", "key") is None


def test_a_killed_worker_is_no_bug() -> None:
    work: Any = os._exit  # ends the worker as the system does that is short of memory
    with pytest.raises(EnvironmentError_, match="worker process was killed"):
        run_cases("scans", work, {"a": 9, "b": 9}, Running(workers=2, keep_going=True))
