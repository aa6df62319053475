"""The scores of one image at a time on disk, so that an interrupted game goes on and shards of a game are joined.

A part is a table like ``scores.csv`` of one image, in ``parts/`` beside ``settings.json``, which says everything that
decides a score. The whole is always summed up from parts as they are on disk, so it does not matter who played them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lungct.errors import InputError
from lungct.explain.index import stem_of
from lungct.game.row import Curve, Row, curves_csv, read_curves, read_rows, scores_csv
from lungct.io.atomic import write_bytes, write_json

FOLDER = "parts"
SETTINGS = "settings.json"
CURVES = ".curves"


@dataclass(frozen=True)
class Parts:
    """Where the parts of this run go, and the parts of others that count as its own."""

    here: Path
    joined: Sequence[Path] = ()

    @classmethod
    def open(cls, staging: Path, settings: dict[str, Any], joined: Sequence[Path], *, resume: bool) -> Parts:
        """The parts folder of a staging folder; what an interrupted run left there under other settings is removed.

        Raises:
            InputError: a folder to join that holds no parts, or parts of another game.
        """
        here = staging / FOLDER
        here.mkdir(exist_ok=True)
        if not (resume and _settings(here) == _plain(settings)):
            for path in here.iterdir():
                path.unlink()
        write_json(here / SETTINGS, settings, indent=1)
        for folder in joined:
            found = _settings(folder / FOLDER)
            if found is None:
                raise InputError.of(folder, f"no {FOLDER}/ in it", "only games played with --shard keep their parts")
            other = next((key for key in settings if found.get(key) != _plain(settings)[key]), None)
            if other is not None:
                raise InputError.of(folder, f"is a shard of another game: {other} differs")
        return cls(here, [folder / FOLDER for folder in joined])

    def has(self, image_id: int | str) -> bool:
        """Whether an image was played before."""
        name = f"{stem_of(image_id)}.csv"
        return any((one / name).is_file() for one in (self.here, *self.joined))

    def rows_of(self, image_id: int | str) -> tuple[list[Row], list[Curve]] | None:
        """The rows and curves of an image that was played before, None if it was not.

        Raises:
            InputError: a part that cannot be read.
        """
        name = f"{stem_of(image_id)}.csv"
        path = next((one / name for one in (self.here, *self.joined) if (one / name).is_file()), None)
        return None if path is None else (read_rows(path), read_curves(path.with_suffix(CURVES)))

    def keep(self, image_id: int | str, rows: Sequence[Row], curves: Sequence[Curve]) -> tuple[list[Row], list[Curve]]:
        """Write an image's curves and then its rows, and return them as they are on disk."""
        path = self.here / f"{stem_of(image_id)}.csv"
        if curves:
            write_bytes(path.with_suffix(CURVES), curves_csv(curves), durable=False)
        write_bytes(path, scores_csv(rows), durable=False)
        return read_rows(path), read_curves(path.with_suffix(CURVES))

    def remove(self) -> None:
        """Take the parts of this run away, once the whole stands."""
        for path in self.here.iterdir():
            path.unlink()
        self.here.rmdir()


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(settings))
    return found


def _settings(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / SETTINGS).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
