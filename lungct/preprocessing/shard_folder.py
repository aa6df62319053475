"""The folder that one shard of a run wrote, and whether several folders are all the shards of one run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lungct.errors import InputError
from lungct.io.atomic import MANIFEST
from lungct.io.manifest import read_manifest

SHARDED = ("preprocess", "select-slices", "predict", "explain")
_TABLES = (".csv", ".json", ".ndjson")
_SAME = {
    "command": "by another command",
    "version": "by another version of lungct",
    "options": "with other options",
}


@dataclass(frozen=True, eq=False)
class ShardFolder:
    """A shard's folder, the head of its manifest and the records of its cases."""

    folder: Path
    head: Mapping[str, Any]
    records: Sequence[Mapping[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> ShardFolder:
        """Read the manifest.

        Raises:
            InputError: no such folder, or not written by a command that takes ``--shard``.
        """
        if not folder.is_dir():
            raise InputError.of(folder, "no such folder")
        head, *records = read_manifest(folder) or [{}]
        if head.get("command") not in SHARDED:
            raise InputError.of(folder, "not made by a command that takes --shard", ", ".join(SHARDED))
        found = cls(folder, head, records)
        if len(found.facts["places"]) != len(records):
            raise InputError.of(folder / MANIFEST, "does not say the place of each of its cases; is it cut short?")
        return found

    @property
    def command(self) -> str:
        """The subcommand that wrote it."""
        return str(self.head["command"])

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """See :meth:`lungct.preprocessing.shard.Shard.facts`; a whole run is its own only shard."""
        count = len(self.records)
        whole = {"index": 0, "count": 1, "source_blake2b": "", "cases": count, "places": range(count)}
        return dict(self.head.get("shard", whole))

    @property
    def placed(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Each case's place in the whole, and its record."""
        return zip(self.facts["places"], self.records, strict=True)

    def tables(self) -> dict[str, Path]:
        """Name -> path of the files that speak of several cases."""
        found = sorted(self.folder.iterdir())
        names = [one for one in found if one.suffix in _TABLES and one.name != MANIFEST]
        return {one.name: one for one in names if not one.name.startswith(".")}

    def files(self) -> dict[str, Path]:
        """Name within the folder -> path of every file that is neither a table nor the manifest nor hidden."""
        tables = self.tables()
        inside = {path.relative_to(self.folder): path for path in sorted(self.folder.rglob("*")) if path.is_file()}
        return {
            name.as_posix(): path
            for name, path in inside.items()
            if name.as_posix() not in (MANIFEST, *tables) and not any(part.startswith(".") for part in name.parts)
        }

    def check_like(self, other: ShardFolder) -> None:
        """Raises InputError: the two are not of one run."""
        for key, what in _SAME.items():
            if self.head[key] != other.head[key]:
                raise InputError.of(
                    self.folder, f"made {what} than {other.folder}", _differing(self.head, other.head, key)
                )
        mine, others = self.facts["count"], other.facts["count"]
        if mine != others:
            raise InputError.of(self.folder, f"one of {mine} shards, {other.folder} is one of {others}")
        if self.facts["source_blake2b"] != other.facts["source_blake2b"]:
            hint = "their scans, tables and LUNGCT_PSEUDONYM_KEY must be the same"
            raise InputError.of(self.folder, f"made from another source than {other.folder}", hint)


def parts_of(folders: Sequence[Path]) -> list[str]:
    """Names of the folders in each of several that were written on their own, a method's maps for one; empty where
    the folders are outputs themselves.

    Raises:
        InputError: some have a part that others have not.
    """
    inside = [
        sorted(one.parent.name for one in folder.glob(f"[!.]*/{MANIFEST}"))
        if folder.is_dir() and not (folder / MANIFEST).is_file()
        else []
        for folder in folders
    ]
    for folder, names in zip(folders, inside, strict=True):
        if names != inside[0]:
            lacking = sorted(set(names) ^ set(inside[0]))
            raise InputError.of(folder, f"does not hold the same as {folders[0]}: {', '.join(lacking)}")
    return inside[0]


def shards_in_order(folders: Sequence[Path]) -> list[ShardFolder]:
    """Read folders that are to be all the shards of one run, in any order.

    Raises:
        InputError: they are not; names the first folder that does not fit, or the shards that are missing.
    """
    shards = [ShardFolder.read(folder) for folder in folders]
    for shard in shards[1:]:
        shard.check_like(shards[0])
    total = shards[0].facts["count"]
    given = Counter(shard.facts["index"] for shard in shards)
    for shard in reversed(shards):
        index = shard.facts["index"]
        if given[index] > 1:
            raise InputError.of(shard.folder, f"shard {index}/{total}, and so is another of the folders")
    missing = [f"{index}/{total}" for index in range(total) if index not in given]
    if missing:
        raise InputError.of(shards[0].folder, f"of its run these shards are missing: {', '.join(missing)}")
    return sorted(shards, key=lambda shard: int(shard.facts["index"]))


def _differing(mine: Mapping[str, Any], other: Mapping[str, Any], key: str) -> str:
    """The two values, or of options the names of those that differ."""
    if not isinstance(mine[key], dict):
        return f"{mine[key]}, not {other[key]}"
    names = {**mine[key], **other[key]}
    return ", ".join(name for name in names if mine[key].get(name) != other[key].get(name))
