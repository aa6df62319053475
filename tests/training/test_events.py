"""TensorBoard's events hold the metrics, once each, also of a resumed run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from lungct.errors import EnvironmentError_
from lungct.training.events import FOLDER, check_tensorboard, events


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_resumed_run_repeats_no_epoch(tmp_path: Path) -> None:
    accumulator: Any = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for done, last in ((0, 3), (2, 4)):
        with events(tmp_path, epochs_done=done) as add:
            for epoch in range(done + 1, last + 1):
                add({"epoch": epoch, "loss": 10.0 * done + epoch, "val_ap50": 0.5})
    found = accumulator.EventAccumulator(str(tmp_path / FOLDER))
    found.Reload()
    assert [(one.step, one.value) for one in found.Scalars("training/loss")] == [(1, 1), (2, 2), (3, 23), (4, 24)]
    assert len(found.Scalars("validation/val_ap50")) == 4
    with events(None, epochs_done=0) as add:
        add({"epoch": 1})


def test_a_missing_tensorboard_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(
        EnvironmentError_, match=r"--tensorboard needs tensorboard: pip install 'lungct\[tensorboard\]'"
    ):
        check_tensorboard()
