"""``manifest.ndjson``: what made a folder and a record per scan in it; written last, no path and no time in it.

The first record has the schema ``lungct.run/1`` and says command, version and options; the others are per scan or
image.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lungct import __version__
from lungct.errors import InputError
from lungct.io import atomic
from lungct.io.atomic import MANIFEST
from lungct.types import Grid

RUN_SCHEMA = "lungct.run/1"
SCAN_SCHEMA = "lungct.scan/1"


def write_manifest(
    folder: Path,
    command: str,
    options: Mapping[str, Any],
    records: Iterable[Mapping[str, Any]] = (),
    *,
    shard: Mapping[str, Any] | None = None,
) -> None:
    """Write the manifest of ``folder``: the run record, then ``records``, each of which names its ``schema``.

    ``shard`` says which share of a larger run the folder is.
    """
    head: dict[str, Any] = {"schema": RUN_SCHEMA, "command": command, "version": __version__, "options": dict(options)}
    if shard is not None:
        head["shard"] = dict(shard)
    lines = [json.dumps(dict(record), ensure_ascii=False, allow_nan=False) for record in (head, *records)]
    atomic.write_bytes(folder / MANIFEST, ("\n".join(lines) + "\n").encode())


def read_manifest(folder: Path) -> list[dict[str, Any]]:
    """Every record of a folder's manifest, the run record first.

    Raises:
        InputError: no manifest, or a line that is not JSON.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError.of(folder, f"no {MANIFEST} in it", "was it made by lungct, and did that run end?")
    try:
        return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (UnicodeDecodeError, json.JSONDecodeError) as problem:
        raise InputError.of(path, f"not readable ({problem})") from None


def files_of(record: Mapping[str, Any]) -> list[str]:
    """The files of its folder that a record names."""
    one_each = [part["path"] for part in (record, record.get("lungs", {})) if part.get("path") is not None]
    return [*record.get("images", ()), *record.get("overlays", ()), *record.get("files", ()), *one_each]


def grid_facts(grid: Grid) -> dict[str, list[float]]:
    """A grid as JSON values, every digit kept: shape, spacing and origin as x, y, z; direction as ITK has it."""
    return {
        "shape": list(grid.shape_zyx[::-1]),
        "spacing_mm": list(grid.spacing_mm_zyx[::-1]),
        "origin_mm": list(grid.origin_lps_mm),
        "direction": list(grid.direction),
    }


def grid_of(facts: Mapping[str, Any]) -> Grid:
    """The inverse of :func:`grid_facts`.

    Raises:
        KeyError, TypeError, ValueError: the facts are no grid.
    """
    x, y, z = (int(one) for one in facts["shape"])
    dx, dy, dz = (float(one) for one in facts["spacing_mm"])
    ox, oy, oz = (float(one) for one in facts["origin_mm"])
    direction = tuple(float(one) for one in facts["direction"])
    if min(x, y, z) < 1 or min(dx, dy, dz) <= 0 or len(direction) != 9:
        raise ValueError("no grid: a shape or spacing that is not positive, or no 3 x 3 direction")
    return Grid((z, y, x), (dz, dy, dx), (ox, oy, oz), direction)


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
