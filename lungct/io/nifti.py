"""NIfTI <-> Volume: the only module that knows RAS against LPS, qform and sform.

On disk: RAS orientation (index i grows to the right, j to the front, k to the head), qform = sform, code 1, mm. In
memory: (Z, Y, X) and LPS. Gzip goes through python-isal, several times faster than zlib at about its size; voxels are
never copied as a whole on their way, so reading takes the memory of the voxels and little more.
"""

from __future__ import annotations

import contextlib
import logging
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
from lungct.io.place import check_place
from lungct.types import FloatArray, Grid, Planes, Volume

logger = logging.getLogger("lungct")
nibabel.imageglobals.logger.setLevel(logging.CRITICAL)  # it prints what it mends; what matters is refused here
RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
COMPRESSION = 1
DEFLATE_LIMIT = 1032
"""No deflated stream grows by more than this."""
CHUNK_BYTES = 2**20
SHEAR_TOLERANCE = 1e-3
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}  # metres, micrometres; 2 is mm, and so is what says nothing
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
    header = _new_header(voxels.shape, affine, voxels.dtype)
    with _packed(path, durable=durable) as stream:
        header.write_to(stream)
        _write_voxels(stream, voxels)


def write_nifti_planes(
    path: Path, planes: Iterable[NDArray[Any]], grid: Grid, dtype: Any, *, durable: bool = True
) -> None:
    """Write a volume that never is in memory as a whole: its (Y, X) planes, one for each z of ``grid``, in its order.

    As :func:`write_nifti` with ``reorient=False``.
    """
    header = _new_header(grid.shape_zyx[::-1], RAS_FROM_LPS @ grid.affine_lps, np.dtype(dtype))
    with _packed(path, durable=durable) as stream:
        header.write_to(stream)
        for plane in planes:
            stream.write(np.ascontiguousarray(plane, dtype).tobytes())  # x fastest


def write_nifti_maps(path: Path, maps: Iterable[FloatArray], count: int, grid: Grid, *, durable: bool = True) -> None:
    """Write ``count`` (Z, Y, X) float32 maps of 0..1 on one grid, in its own index order: a 3D file of one, else 4D.

    The maps are taken one by one, so that one at a time is in memory.
    """
    shape = grid.shape_zyx[::-1]
    header = _new_header(shape if count == 1 else (*shape, count), RAS_FROM_LPS @ grid.affine_lps, np.dtype(np.float32))
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


def _new_header(shape: tuple[int, ...], affine: FloatArray, dtype: np.dtype[Any]) -> Any:
    """Of a little-endian single-file NIfTI-1 without an extension."""
    header = nibabel.Nifti1Image(np.zeros((1,) * len(shape), dtype), affine, dtype=dtype).header
    header.set_data_shape(shape)
    header.set_xyzt_units("mm")
    header.set_qform(affine, code=1)
    header.set_sform(affine, code=1)
    header.set_data_offset(352)
    header["magic"] = b"n+1"
    return header


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

    The sform places the voxels, as in nibabel, and the qform where there is none. Of a sheared sform (its axes not at
    right angles, which ITK refuses) the qform is taken, if the two agree to half a voxel over the whole scan.

    Raises:
        InputError: missing, truncated, not NIfTI, not 3D, a geometry that is missing, singular or sheared.
    """
    with _naming_faults(path):
        with _opened(path) as (stream, most):
            start = stream.read(LONGEST_HEADER)
            header = _header(start)
            voxels = _scaled(_stored_voxels(stream, start, header, most, path), header)
        grid = _grid(header, voxels.shape, path)
    return Volume(voxels.transpose(2, 1, 0), grid)


def read_nifti_grid(path: Path) -> Grid:
    """The grid of a 3D NIfTI, read from its header alone.

    Raises:
        InputError: as :func:`read_nifti`, as far as the header tells.
    """
    with _naming_faults(path), _opened(path) as (stream, _):
        header = _header(stream.read(LONGEST_HEADER))
        return _grid(header, _shape(header, path), path)


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
            header = _header(start)
            grid = _grid(header, _shape(header, path), path)
            voxels = _PlaneReader(stream, start, header, most, path)
        yield Planes(grid, voxels.read)


class _PlaneReader:
    """Goes through the voxels of an opened file from its start to its end."""

    def __init__(self, stream: BinaryIO, start: bytes, header: Any, most: int, path: Path) -> None:
        self._stream, self._ahead, self._header, self._path = stream, start, header, path
        self._shape = _shape(header, path)
        self._kind, offset, _ = _layout(header, most, path)
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
            return _scaled(plane, self._header)

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


def _header(data: bytes) -> Any:
    sizes = {int.from_bytes(data[:4], order) for order in ("little", "big")}
    if not sizes & {348, 540}:
        raise ValueError("it does not begin with the length of a NIfTI header")
    two = 540 in sizes
    kind: Any = nibabel.Nifti2Header if two else nibabel.Nifti1Header
    head = data[: kind.sizeof_hdr]
    stated = kind(head, check=False)
    if not stated["magic"].item().startswith((b"n+1", b"n+2")):
        raise ValueError("no NIfTI magic, or a header without its voxels")
    if stated["sform_code"] == 0 and (stated["pixdim"][1:4] == 0).any():
        raise ValueError("a spacing of zero")  # which the check below would turn into 1
    return kind(head, check=True)


def _stored_voxels(stream: BinaryIO, start: bytes, header: Any, most: int, path: Path) -> NDArray[Any]:
    """(X, Y, Z) as stored; of the stream ``start`` is read, and it holds at most ``most`` bytes."""
    shape = _shape(header, path)
    kind, offset, size = _layout(header, most, path)
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


def _layout(header: Any, most: int, path: Path) -> tuple[Any, int, int]:
    """The voxels' number type, and the bytes before them and up to their end, of which there are at most ``most``."""
    kind = header.get_data_dtype()
    if kind.fields is not None or kind.kind == "c":
        raise InputError.of(path, "colour or complex voxels, expected HU")
    offset = int(header.get_data_offset())
    size = offset + math.prod(map(int, _shape(header, path))) * kind.itemsize
    if size > most:
        raise EOFError("fewer voxels than its header says")
    return kind, offset, size


def _read_out(stream: BinaryIO) -> None:
    """To the end of the packed stream, where its checksum is."""
    while stream.read(CHUNK_BYTES):
        pass


def _scaled(voxels: NDArray[Any], header: Any) -> NDArray[Any]:
    """The voxels themselves where no slope asks for more, else float32."""
    slope, intercept = header.get_slope_inter()
    if slope in (None, 1.0) and intercept in (None, 0.0):
        return voxels
    scaled = voxels.astype(np.float32)
    scaled *= np.float32(slope)
    scaled += np.float32(intercept or 0.0)
    return scaled


def _shape(header: Any, path: Path) -> tuple[int, ...]:
    shape: tuple[int, ...] = header.get_data_shape()
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 1:
        raise InputError.of(path, f"shape {header.get_data_shape()}, expected one 3D volume")
    return shape


def _grid(header: Any, shape: tuple[int, ...], path: Path) -> Grid:
    affine = RAS_FROM_LPS @ _affine_ras(header, shape, path)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    direction = affine[:3, :3] / spacing
    # The nearest rotation takes away the shear of rounding, which ITK would refuse further on.
    left, _, right = np.linalg.svd(direction)
    direction = left @ right
    return Grid(
        (shape[2], shape[1], shape[0]),
        tuple(spacing[::-1].tolist()),
        tuple(affine[:3, 3].tolist()),
        tuple(direction.ravel().tolist()),
    )


def _affine_ras(header: Any, shape: tuple[int, ...], path: Path) -> FloatArray:
    forms = [
        (name, form)
        for name, form in (("sform", _form(header, "s")), ("qform", _form(header, "q")))
        if form is not None
    ]
    if not forms:
        raise InputError.of(path, "neither qform nor sform is set, so its place in the world is unknown")
    name, affine = forms[0]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    check_place(spacing, affine[:3, 3], path)
    if not _sheared(affine):
        return affine
    if len(forms) == 2 and _apart(affine, forms[1][1], shape) <= 0.5 * spacing.min():
        logger.info("%s: sheared sform, the qform is taken", path)
        return forms[1][1]
    raise InputError.of(path, f"sheared {name} (its axes are not at right angles)", "resample it to a straight grid")


def _form(header: Any, letter: str) -> FloatArray | None:
    """The (4, 4) RAS affine of one form in mm, None where its code is 0."""
    if int(header[f"{letter}form_code"]) == 0:
        return None
    if letter == "q":
        stated = [*header["pixdim"][1:4], *(header[f"quatern_{name}"] for name in "bcd")]
        if not np.isfinite(stated).all():
            raise ValueError("a spacing or rotation that is not a number")
    affine = np.array(header.get_sform() if letter == "s" else header.get_qform(), dtype=np.float64)
    affine[:3] *= _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    return affine


def _sheared(affine: FloatArray) -> bool:
    direction = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(direction.T @ direction - np.eye(3)).max() > SHEAR_TOLERANCE)


def _apart(one: FloatArray, other: FloatArray, shape: tuple[int, ...]) -> float:
    """Largest distance in mm between where two affines put a corner of the scan."""
    corners = np.array([[i, j, k, 1] for i in (0, shape[0] - 1) for j in (0, shape[1] - 1) for k in (0, shape[2] - 1)])
    return float(np.linalg.norm((corners @ (one - other).T)[:, :3], axis=1).max())
