"""What a subcommand returns, and the one place that renders it as text or as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lungct.errors import InputError, LungctError, SomeCasesFailed

SCHEMA = "lungct.result/1"


@dataclass(frozen=True)
class Table:
    """Rows for the eyes, shown on stderr."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    title: str = ""


@dataclass(frozen=True)
class Result:
    """The outcome of one subcommand.

    Attributes:
        output: path of what was written; the only thing on stdout. None for a dry run.
        data: JSON-ready facts for ``--json``.
        tables: shown on stderr.
        text: for commands whose product is text (``info``): goes to stdout in place of a path.
        failed: cases left out under --keep-going, as ``case: reason``; makes the exit code 5.
        silent: another process of the same run says it all.
        refused: why the input is not good enough for what was asked of it; makes the exit code 3, the output stays.
    """

    output: Path | None = None
    data: dict[str, Any] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    text: str = ""
    failed: Sequence[str] = ()
    refused: str = ""
    silent: bool = False

    @property
    def exit_code(self) -> int:
        """0, or 3 when the input was found wanting, or 5 when cases were left out."""
        return InputError.exit_code if self.refused else SomeCasesFailed.exit_code if self.failed else 0

    @property
    def status(self) -> str:
        """One word for the envelope."""
        return "refused" if self.refused else "partial" if self.failed else "ok"


def envelope(command: str, result: Result) -> str:
    """The versioned JSON object of a finished command."""
    return _dump(
        {
            "schema": SCHEMA,
            "command": command,
            "status": result.status,
            "exit_code": result.exit_code,
            "output": None if result.output is None else str(result.output),
            "data": result.data,
            "failed": list(result.failed),
            "error": None,
        }
    )


def failure_envelope(command: str, problem: LungctError | None, message: str, exit_code: int) -> str:
    """The same object for a command that failed."""
    error = {
        "kind": type(problem).__name__.rstrip("_") if problem else "Bug" if exit_code == 1 else "UsageError",
        "message": problem.message if problem else message,
        "hint": problem.hint if problem else "",
    }
    return _dump(
        {
            "schema": SCHEMA,
            "command": command,
            "status": "error",
            "exit_code": exit_code,
            "output": None,
            "data": {},
            "failed": [],
            "error": error,
        }
    )


def _dump(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, default=str)
