"""The volume files of a folder, without the masks that lie among them, and what tells them apart."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from lungct.io.atomic import maker_of
from lungct.io.volume_file import volume_stem, volume_suffix
from lungct.sources.pseudonym import same_spelling

logger = logging.getLogger("lungct")
_MASK_FOLDERS = frozenset({"masks", "mask", "lungs", "labels", "segmentations", "seg-lungs-luna16"})
_MASK_STEM = re.compile(r"(^|[_-])(mask|masks|seg|segmentation|label|labels|patch)$", re.IGNORECASE)


def scan_files(folder: Path) -> list[Path]:
    """Every volume file below ``folder``, sorted by path.

    Left out: hidden files and folders, folders called masks, lungs, labels or segmentations, and files whose stem ends
    in ``_mask``, ``_seg``, ``_label`` or ``_patch``, which are no scans. Left out and counted are folders that lungct
    made of scans: ``lungct preprocess .`` writes its output among its input.
    """
    ours: list[Path] = []
    files = sorted(_walk(folder, ours))
    if ours:
        said = "%s: %d folders in it that lungct made are left out; name one itself to read it"
        logger.warning(said, folder, len(ours))
    return files


def has_scan_files(folder: Path) -> bool:
    """Whether :func:`scan_files` finds any."""
    return next(_walk(folder, []), None) is not None


def identifiers(files: Sequence[Path], folder: Path) -> dict[Path, str]:
    """What each file is known by: its stem, or where several have the same one, its path below ``folder``."""
    stems = {file: same_spelling(volume_stem(file)) for file in files}
    count = Counter(stems.values())
    return {
        file: stem if count[stem] == 1 else same_spelling((file.relative_to(folder).parent / stem).as_posix())
        for file, stem in stems.items()
    }


def _walk(folder: Path, ours: list[Path]) -> Iterator[Path]:
    """The files; folders that a command other than ``phantom`` made go into ``ours``."""
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if maker_of(entry) not in ("", "phantom"):
                ours.append(entry)
            elif entry.name.lower() not in _MASK_FOLDERS:
                yield from _walk(entry, ours)
        elif volume_suffix(entry.name) and not _MASK_STEM.search(volume_stem(entry)):
            yield entry
