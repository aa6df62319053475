"""What a case was made from, as one short key: ``--resume`` takes work over only where the key is the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lungct.types import Scan, SliceImage

# The voxels of .mhd and .nhdr headers lie in a second file.
_VOXEL_SUFFIXES = {".mhd": (".raw", ".zraw", ".raw.gz"), ".nhdr": (".raw", ".raw.gz")}


def scan_key(scan: Scan, beside: Sequence[Path] = ()) -> str:
    """Hex digest of a scan's files (path, size, time of change), its nodules and what else its source says of it.

    ``beside`` are further files that its result depends on.
    """
    return _digest(said_of_scan(scan), [*_files(scan.load), *beside])


def image_key(image: SliceImage) -> str:
    """Hex digest of a 2D image's files, its boxes and what else its source says of it."""
    return _digest(said_of_image(image), _files(image.load))


def said_of_scan(scan: Scan) -> tuple[object, ...]:
    """All that a source says of a scan beside its voxels."""
    said = (scan.case_id, scan.patient_id, scan.split, scan.source, scan.truth_known, scan.nodules, scan.excluded)
    return *said, scan.attributes, scan.source_grid


def said_of_image(image: SliceImage) -> tuple[object, ...]:
    """All that a source says of a 2D image beside its pixels."""
    said = (image.image_id, image.patient_id, image.case_id, image.split, image.spacing_mm_xy)
    return said, (image.boxes_xyxy_px.tolist(), image.labels, image.attributes)


def file_key(path: Path) -> str:
    """Hex digest of one file's path, size and time of change."""
    return _digest((), [path])


def _files(load: Callable[[], Any]) -> Iterator[Path]:
    """The files that a source's ``load`` is bound to: paths, or headers of the slices of one series.

    Raises:
        TypeError: a load that is no partial; its files are not known.
    """
    if not isinstance(load, partial):
        raise TypeError(f"load of a source must be a functools.partial over its files, not {load!r}")
    for given in load.args:
        for one in given if isinstance(given, tuple) else (given,):
            path = getattr(one, "path", one)
            if isinstance(path, Path):
                yield path
                yield from (path.with_suffix(suffix) for suffix in _VOXEL_SUFFIXES.get(path.suffix.lower(), ()))


def _digest(said: object, files: Iterator[Path] | list[Path]) -> str:
    stamps = [_stamp(path) for path in files]
    return hashlib.blake2b(repr((said, stamps)).encode(), digest_size=16).hexdigest()


def _stamp(path: Path) -> tuple[str, int, int]:
    try:
        found = path.stat()
    except OSError:
        return str(path.absolute()), -1, -1
    return str(path.absolute()), found.st_size, found.st_mtime_ns
