"""One bad input tried: the whole command in this process, its exit code, its one line, and what it left behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lungct.cli.app import command
from lungct.cli.contract import run_app

Spoil = Callable[[Path], None]


@dataclass(frozen=True)
class Outcome:
    """What a command answered."""

    code: int
    stdout: str
    stderr: str


def run(capfd: pytest.CaptureFixture[str], *arguments: str | Path) -> Outcome:
    """Run ``lungct ARGUMENTS`` and return what it said."""
    capfd.readouterr()
    code = run_app(command(), [str(one) for one in arguments])
    said = capfd.readouterr()
    return Outcome(code, said.out, said.err)


def assert_refused(outcome: Outcome, code: int, out: Path) -> None:
    """The exit code, one error line that names the command and is no bug report, and no output, whole or half."""
    assert outcome.code == code, outcome.stderr
    errors = [line for line in outcome.stderr.splitlines() if not line.startswith("lungct: ")]
    assert len(errors) == 1, outcome.stderr
    assert errors[0].startswith("lungct ")
    assert len(errors[0]) < 700
    assert "bug" not in errors[0]
    assert "Traceback" not in outcome.stderr
    assert outcome.stdout == ""
    assert not os.path.lexists(out)
    assert not list(out.parent.glob(f".{out.name}.partial/*.ndjson"))
