"""NDJSON, a JSON object per line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lungct.errors import InputError


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Every object of a file.

    Raises:
        InputError: missing, or a line that is no JSON object.
    """
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as problem:
        raise InputError.of(path, f"not readable as JSON lines ({problem})") from None
    if not all(isinstance(row, dict) for row in rows):
        raise InputError.of(path, "a line is no JSON object")
    return rows
