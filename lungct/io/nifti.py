"""NIfTI <-> Volume: with ``nifti_header`` the only module that knows RAS against LPS, qform and sform.

On disk: RAS orientation (index i grows to the right, j to the front, k to the head), qform = sform, code 1, mm. In
memory: (Z, Y, X) and LPS. Gzip goes through python-isal, several times faster than zlib at about its size; voxels are
never copied as a whole on their way, so reading takes the memory of the voxels and little more.
"""

from __future__ import annotations

import contextlib
import math
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel
import numpy as np
from isal import igzip, isal_zlib
from numpy.typing import NDArray

from lungct.errors import InputError
from lungct.io import atomic
from lungct.io.nifti_header import RAS_FROM_LPS, grid_of, header_of, layout_of, new_header, scaled, shape_of
from lungct.types import FloatArray, Grid, Planes, Volume

COMPRESSION = 1
DEFLATE_LIMIT = 1032
"""No deflated stream grows by more than this."""
CHUNK_BYTES = 2**20
LONGEST_HEADER = 1024
_UNREADABLE: tuple[Any, ...] = (
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    zlib.error,
    isal_zlib.error,
    nibabel.filebasedimages.ImageFileError,
    nibabel.spatialimages.HeaderDataError,
    nibabel.wrapstruct.WrapStructError,
)


def write_nifti(path: Path, volume: Volume, *, durable: bool = True, reorient: bool = True) -> None:
    """Write a volume (int16 HU or uint8 mask) as ``.nii.gz``, flipped to RAS; the same bytes for the same volume.

    ``reorient=False`` keeps the volume's own index order, flips and all.
    """
    voxels, affine = volume.hu.transpose(2, 1, 0), RAS_FROM_LPS @ volume.grid.affine_lps
    if reorient:
        voxels, affine = _to_ras(voxels, affine)
    header = new_header(voxels.shape, affine, voxels.dtype)
    with _packed(path, durable=durable) as stream:
        header.write_to(stream)
        _write_voxels(stream, voxels)


def write_nifti_planes(
    path: Path, planes: Iterable[NDArray[Any]], grid: Grid, dtype: Any, *, durable: bool = True
) -> None:
    """Write a volume that never is in memory as a whole: its (Y, X) planes, one for each z of ``grid``, in its order.

    As :func:`write_nifti` with ``reorient=False``.
    """
    header = new_header(grid.shape_zyx[::-1], RAS_FROM_LPS @ grid.affine_lps, np.dtype(dtype))
    with _packed(path, durable=durable) as stream:
        header.write_to(stream)
        for plane in planes:
            stream.write(np.ascontiguousarray(plane, dtype).tobytes())  # x fastest


def write_nifti_maps(path: Path, maps: Iterable[FloatArray], count: int, grid: Grid, *, durable: bool = True) -> None:
    """Write ``count`` (Z, Y, X) float32 maps of 0..1 on one grid, in its own index order: a 3D file of one, else 4D.

    The maps are taken one by one, so that one at a time is in memory.
    """
    shape = grid.shape_zyx[::-1]
    header = new_header(shape if count == 1 else (*shape, count), RAS_FROM_LPS @ grid.affine_lps, np.dtype(np.float32))
    header["cal_max"] = 1.0
    written = 0
    with _packed(path, durable=durable) as stream:
        header.write_to(stream)
        for one in maps:
            if one.shape != grid.shape_zyx:
                raise ValueError(f"a map is {one.shape}, its grid {grid.shape_zyx}")
            _write_voxels(stream, one.astype(np.float32, copy=False).transpose(2, 1, 0))
            written += 1
        if written != count:
            raise ValueError(f"{written} maps, {count} were announced")


@contextmanager
def _packed(path: Path, *, durable: bool) -> Iterator[BinaryIO]:
    """A new gzip file without a time or a name in it."""
    with (
        atomic.atomic_file(path, durable=durable) as stream,
        igzip.IGzipFile("", "wb", compresslevel=COMPRESSION, fileobj=stream, mtime=0) as packed,
    ):
        yield cast(BinaryIO, packed)


def _write_voxels(stream: BinaryIO, voxels: NDArray[Any]) -> None:
    """(X, Y, Z) plane by plane, i fastest; nibabel's header ends with the four bytes that say 'no extension'."""
    for k in range(voxels.shape[2]):
        stream.write(voxels[:, :, k].tobytes(order="F"))


def _to_ras(voxels: NDArray[Any], affine: FloatArray) -> tuple[NDArray[Any], FloatArray]:
    orientation = nibabel.orientations.io_orientation(affine)
    flipped = nibabel.orientations.apply_orientation(voxels, orientation)
    return flipped, affine @ nibabel.orientations.inv_ornt_aff(orientation, voxels.shape)


def read_nifti(path: Path) -> Volume:
    """Read a 3D NIfTI in its stored index order; integer types without a slope stay as they are, others are float32.

    Where its voxels lie, see :mod:`lungct.io.nifti_header`.

    Raises:
        InputError: missing, truncated, not NIfTI, not 3D, a geometry that is missing, singular or sheared.
    """
    with _naming_faults(path):
        with _opened(path) as (stream, most):
            start = stream.read(LONGEST_HEADER)
            header = header_of(start)
            voxels = scaled(_stored_voxels(stream, start, header, most, path), header)
        grid = grid_of(header, voxels.shape, path)
    return Volume(voxels.transpose(2, 1, 0), grid)


def read_nifti_grid(path: Path) -> Grid:
    """The grid of a 3D NIfTI, read from its header alone.

    Raises:
        InputError: as :func:`read_nifti`, as far as the header tells.
    """
    with _naming_faults(path), _opened(path) as (stream, _):
        header = header_of(stream.read(LONGEST_HEADER))
        return grid_of(header, shape_of(header, path), path)


@contextmanager
def nifti_planes(path: Path) -> Iterator[Planes]:
    """What :func:`read_nifti` reads, plane by plane while the block runs.

    Raises:
        InputError: as :func:`read_nifti`; what is wrong behind the header, when its plane is read.
    """
    with contextlib.ExitStack() as open_file:
        with _naming_faults(path):
            stream, most = open_file.enter_context(_opened(path))
            start = stream.read(LONGEST_HEADER)
            header = header_of(start)
            grid = grid_of(header, shape_of(header, path), path)
            voxels = _PlaneReader(stream, start, header, most, path)
        yield Planes(grid, voxels.read)


class _PlaneReader:
    """Goes through the voxels of an opened file from its start to its end."""

    def __init__(self, stream: BinaryIO, start: bytes, header: Any, most: int, path: Path) -> None:
        self._stream, self._ahead, self._header, self._path = stream, start, header, path
        self._shape = shape_of(header, path)
        self._kind, offset, _ = layout_of(header, most, path)
        self._next = 0
        self._take(offset)

    def read(self, z: int) -> NDArray[Any]:
        if z < self._next:
            raise ValueError(f"plane {z} is read already")
        size = self._shape[0] * self._shape[1] * self._kind.itemsize
        with _naming_faults(self._path):
            while self._next < z:
                self._take(size)
                self._next += 1
            plane = np.frombuffer(self._take(size), self._kind).reshape(self._shape[1], self._shape[0])
            self._next += 1
            if self._next == self._shape[2]:
                _read_out(self._stream)
            return scaled(plane, self._header)

    def _take(self, size: int) -> bytearray:
        """The next ``size`` bytes."""
        taken = bytearray(size)
        done = min(size, len(self._ahead))
        taken[:done], self._ahead = self._ahead[:done], self._ahead[done:]
        with memoryview(taken) as room:
            while done < size:
                got = self._stream.readinto(room[done : done + CHUNK_BYTES])  # type: ignore[attr-defined]
                if not got:
                    raise EOFError("fewer voxels than its header says")
                done += got
        return taken


@contextmanager
def _naming_faults(path: Path) -> Iterator[None]:
    """What goes wrong in reading, as an error that names the file."""
    try:
        yield
    except FileNotFoundError:
        raise InputError.of(path, "no such file") from None
    except _UNREADABLE as problem:
        raise InputError.of(path, f"not readable as NIfTI ({' '.join(str(problem).split())[:120]})") from None


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """The file's bytes, unpacked, and the most that there can be of them."""
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        size = os.fstat(file.fileno()).st_size
        if packed:
            with igzip.IGzipFile(fileobj=file) as stream:
                yield cast(BinaryIO, stream), size * DEFLATE_LIMIT
        else:
            yield file, size


def _stored_voxels(stream: BinaryIO, start: bytes, header: Any, most: int, path: Path) -> NDArray[Any]:
    """(X, Y, Z) as stored; of the stream ``start`` is read, and it holds at most ``most`` bytes."""
    shape = shape_of(header, path)
    kind, offset, size = layout_of(header, most, path)
    data = np.empty(size, np.uint8)
    done = min(size, len(start))
    data[:done] = np.frombuffer(start, np.uint8, done)
    while done < size:
        got = stream.readinto(data[done : done + CHUNK_BYTES])  # type: ignore[attr-defined]
        if not got:
            raise EOFError("fewer voxels than its header says")
        done += got
    _read_out(stream)
    return np.frombuffer(data, kind, math.prod(map(int, shape)), offset).reshape(shape, order="F")


def _read_out(stream: BinaryIO) -> None:
    """To the end of the packed stream, where its checksum is."""
    while stream.read(CHUNK_BYTES):
        pass
