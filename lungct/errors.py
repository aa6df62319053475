"""Every error that lungct raises on purpose; each class knows its exit code, each instance how to mend it.

LungctError
 ├── UsageError          2   options that contradict each other or make no sense together
 ├── InputError          3   a file or folder is not what it must be
 ├── EnvironmentError_   4   an extra, weights or a device is missing
 ├── SomeCasesFailed     5   the run went on under --keep-going and left cases out
 └── OutputExists        6   the output is there already, or another process is writing it
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class LungctError(Exception):
    """An error a user can mend.

    Args:
        message: what is wrong and where, one line, no full stop needed.
        hint: how to mend it, one line; empty when the message says it already.

    Attributes:
        path: the file that the message begins with, empty where it speaks of none.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = " ".join(message.split())
        self.hint = " ".join(hint.split())
        self.path = ""

    def __str__(self) -> str:
        return f"{self.message}: {self.hint}" if self.hint else self.message


class UsageError(LungctError):
    """Options that contradict each other or make no sense together."""

    exit_code = 2


class InputError(LungctError):
    """A file or folder is not what it must be; the message names the file, the field and what was expected."""

    exit_code = 3

    @classmethod
    def of(cls, path: str | Path, problem: str, hint: str = "") -> InputError:
        """The error for one file: ``path: problem: hint``."""
        error = cls(f"{path}: {problem}", hint)
        error.path = str(path)
        return error


class EnvironmentError_(LungctError):  # noqa: N801, N818 - the builtin has the plain name
    """An extra, weights or a device is missing; the hint is the command that mends it."""

    exit_code = 4


class SomeCasesFailed(LungctError):  # noqa: N818 - it is a report, not a fault of the program
    """Under --keep-going some cases failed; the rest is written."""

    exit_code = 5


class OutputExists(LungctError):  # noqa: N818
    """The output is there already, or another process is writing it."""

    exit_code = 6
