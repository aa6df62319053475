"""A scan of a source, read plane by plane where its file allows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from lungct.io.dicom_voxels import read_series, series_planes
from lungct.io.volume_file import read_volume, volume_planes
from lungct.sources.hidden import loading
from lungct.types import Planes, Scan

_BY_PLANES: Mapping[Callable[..., Any], Callable[..., AbstractContextManager[Planes]]] = {
    read_volume: volume_planes,
    read_series: series_planes,
}
"""What reads as a whole -> what reads the same plane by plane."""


@contextmanager
def scan_planes(scan: Scan) -> Iterator[Planes]:
    """The planes of what ``scan.load`` gives, in its index order, while the block runs.

    A scan whose source reads it in a way of its own is read as a whole.

    Raises:
        InputError: what ``scan.load`` raises; what is wrong with the voxels, when their plane is read.
    """
    read, given, more, hidden = loading(scan.load)
    by_planes = _BY_PLANES.get(read)
    if by_planes is None:
        volume = scan.load()
        yield Planes(volume.grid, volume.hu.__getitem__)
        return
    with hidden, by_planes(*given, **more) as planes:
        yield planes
