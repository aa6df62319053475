"""A CSV with a header -> rows whose cells are asked for by name, each complaint with file, line and column."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lungct.errors import InputError

LARGEST = 1e9
"""No length, place or score is larger; the squares of larger ones, up to 1e308, overflow."""
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True)
class Row:
    """One line of a CSV; ``cells`` has every column, the text as it stands."""

    path: Path
    line: int
    cells: Mapping[str | None, Any]

    def text(self, column: str) -> str:
        """The cell without white space around it; empty where the line is too short or has no such column."""
        return (self.cells.get(column) or "").strip()

    def number(self, column: str, what: str = "a number") -> float:
        """The cell as a finite number of at most ``LARGEST``, either way.

        Raises:
            InputError: it is none; ``what`` says what was expected.
        """
        return self._finite(self.text(column), column, what)

    def numbers(self, column: str, count: int) -> tuple[float, ...]:
        """The cell as ``count`` finite numbers with commas between, ``"1.5, 2, 3"``.

        Raises:
            InputError: it is something else.
        """
        what = f"{count} numbers with commas between"
        found = tuple(self._finite(one, column, what) for one in self.text(column).split(","))
        if len(found) != count:
            raise self.broken(f"{column} has {len(found)} numbers, expected {count}")
        return found

    def broken(self, problem: str, hint: str = "") -> InputError:
        """The error that says what is wrong with this line."""
        return InputError.of(self.path, f"line {self.line}: {problem}", hint)

    def _finite(self, text: str, column: str, what: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.broken(f"{column} is {text!r}, expected {what}")
        if abs(value) > LARGEST:
            raise self.broken(f"{column} is {text!r}, too large: expected {what} of at most {LARGEST:g}")
        return value


def read_table(path: Path, columns: Sequence[str]) -> list[Row]:
    """Every line below the header of a comma-separated file that has at least ``columns``; a BOM does no harm.

    Raises:
        InputError: missing, no text, another separator, a column that is missing or there twice, a line with more cells
            than there are columns.
    """
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise InputError.of(path, "no such file") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise InputError.of(path, f"not readable as CSV ({problem})") from None
    reader = csv.DictReader(io.StringIO(text))
    try:
        _check_header(path, list(reader.fieldnames or ()), columns)
        rows = [Row(path, reader.line_num, row) for row in reader]
    except csv.Error as problem:
        raise InputError.of(path, f"not readable as CSV ({problem})") from None
    for row in rows:
        if None in row.cells:
            raise row.broken("more cells than the header has columns")
    return rows


def _check_header(path: Path, found: list[str], columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in found]
    twice = [name for name in columns if found.count(name) > 1]
    if twice:
        raise InputError.of(path, f"two columns {twice[0]}", "keep one of them")
    if not missing:
        return
    other = next((name for mark, name in _OTHER_SEPARATORS.items() if mark in (found or [""])[0]), "")
    if other:
        raise InputError.of(path, f"its columns are parted by {other}", "expected commas")
    raise InputError.of(path, f"no column {', '.join(missing)}", "expected the header " + ",".join(columns))


def has_columns(path: Path, columns: Sequence[str]) -> bool:
    """Whether a file is a CSV whose header has ``columns``; looks at its first line only."""
    try:
        with open(path, encoding="utf-8-sig", errors="replace", newline="") as stream:
            header = next(csv.reader([stream.readline(10_000)]), [])
    except (OSError, csv.Error):
        return False
    return set(columns) <= set(header)
