"""The table of a run grows on a terminal, and nothing is drawn elsewhere."""

from __future__ import annotations

import io
import sys

import pytest

from lungct.cli import streams


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("terminal", [True, False])
def test_rows_are_shown_while_a_run_goes_on(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    streams.configure(quiet=False, verbose=0)
    with streams.live() as (progress, add_row):
        progress("training batches", 3, 9)
        add_row({"epoch": 1, "loss": 0.125})
        add_row({"epoch": 2, "loss": 0.0625, "val_ap50": 0.75})
    shown = stderr.getvalue()
    for text in ("val_ap50", "0.0625", "training batches"):
        assert (text in shown) == terminal
