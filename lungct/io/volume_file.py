"""One volume file of any format -> Volume, or its grid alone: NIfTI by our own reader, MHD, MHA, NRRD by SimpleITK."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lungct.errors import InputError
from lungct.io.itk_header import check_header, is_raw_meta
from lungct.io.nifti import nifti_planes, read_nifti, read_nifti_grid
from lungct.io.place import check_place
from lungct.types import Grid, Planes, Volume

NIFTI_SUFFIXES = (".nii.gz", ".nii")
ITK_SUFFIXES = (".mhd", ".mha", ".nrrd", ".nhdr")
NRRD_SUFFIXES = (".nrrd", ".nhdr")
SUFFIXES = NIFTI_SUFFIXES + ITK_SUFFIXES


def volume_suffix(name: str) -> str:
    """The suffix of a volume's file name in lower case, empty where it is none of ours."""
    return next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), "")


def volume_stem(path: Path) -> str:
    """A volume's file name without its suffix, which may have two parts."""
    return path.name[: len(path.name) - len(volume_suffix(path.name))]


def read_volume(path: Path) -> Volume:
    """Read a 3D volume in its stored index order and number type.

    Raises:
        InputError: missing, truncated, of another format, not 3D, colour, or a geometry that makes no sense.
    """
    return read_nifti(path) if _checked_suffix(path) in NIFTI_SUFFIXES else _read_itk(path)


@contextlib.contextmanager
def volume_planes(path: Path) -> Iterator[Planes]:
    """What :func:`read_volume` reads, plane by plane while the block runs.

    NRRD, packed MetaImage and files of other than three dimensions are read as a whole: ITK can do no other.

    Raises:
        InputError: as :func:`read_volume`; what is wrong behind the header, when its plane is read.
    """
    if _checked_suffix(path) in NIFTI_SUFFIXES:
        with nifti_planes(path) as planes:
            yield planes
    elif is_raw_meta(path) and (reader := _itk_reader(path)).GetDimension() == 3:
        yield Planes(itk_grid(reader, path), partial(_itk_plane, reader, path))
    else:
        volume = _read_itk(path)
        yield Planes(volume.grid, volume.hu.__getitem__)


def _itk_plane(reader: Any, path: Path, z: int) -> NDArray[Any]:
    reader.SetExtractIndex((0, 0, z))
    reader.SetExtractSize((*reader.GetSize()[:2], 0))
    try:
        return _itk_voxels(reader.Execute(), path)
    except RuntimeError as problem:
        raise InputError.of(path, f"not readable ({itk_reason(problem)})") from None


def _itk_reader(path: Path) -> Any:
    """A reader that knows the file's header."""
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    _by_itk(path, reader.ReadImageInformation)
    return reader


def read_grid(path: Path) -> Grid:
    """The grid that :func:`read_volume` would give, from the file's header alone.

    Raises:
        InputError: as :func:`read_volume`, as far as the header tells.
    """
    if _checked_suffix(path) in NIFTI_SUFFIXES:
        return read_nifti_grid(path)
    reader = _itk_reader(path)
    return itk_grid(reader, path) if reader.GetDimension() == 3 else _read_itk(path).grid


def read_plane(path: Path) -> tuple[NDArray[Any], tuple[float, float]]:
    """(Y, X) array and its (x, y) pixel spacing in mm from a file of one slice, stored as 2D or as 3D of one slice.

    A file that does not say its spacing gives 1 x 1.

    Raises:
        InputError: missing, not readable, more than one slice, colour.
    """
    if not path.is_file():
        raise InputError.of(path, "no such file")
    image = _itk_image(path)
    if image.GetDimension() < 2 or image.GetSize()[2:] not in ((), (1,)):
        raise InputError.of(path, f"size {image.GetSize()}, expected one slice")
    check_place(image.GetSpacing(), image.GetOrigin(), path)
    x, y = (float(value) for value in image.GetSpacing()[:2])
    voxels = _itk_voxels(image, path)
    return voxels.reshape(voxels.shape[-2:]), (x, y)


def _checked_suffix(path: Path) -> str:
    suffix = volume_suffix(path.name)
    if not suffix:
        raise InputError.of(path, "not a volume by its name", f"expected one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise InputError.of(path, "no such file")
    return suffix


def _read_itk(path: Path) -> Volume:
    image = _itk_image(path)
    while image.GetDimension() > 3 and image.GetSize()[-1] == 1:
        image = image[(slice(None),) * (image.GetDimension() - 1) + (0,)]
    if image.GetDimension() != 3:
        raise InputError.of(path, f"{image.GetDimension()}D of size {image.GetSize()}, expected one 3D volume")
    return Volume(_itk_voxels(image, path), itk_grid(image, path))


def _itk_image(path: Path) -> Any:
    import SimpleITK

    image: Any = _by_itk(path, lambda: SimpleITK.ReadImage(str(path)))
    if min(image.GetSize()) < 1:
        raise InputError.of(path, f"no voxel in it, its size is {image.GetSize()}")
    return image


def _itk_voxels(image: Any, path: Path) -> NDArray[Any]:
    import SimpleITK

    if image.GetNumberOfComponentsPerPixel() != 1 or "complex" in image.GetPixelIDTypeAsString():
        raise InputError.of(path, "colour, vector or complex voxels, expected HU")
    voxels: NDArray[Any] = SimpleITK.GetArrayFromImage(image)
    return voxels


def _by_itk(path: Path, read: Callable[[], Any]) -> Any:
    """What ITK reads of a file whose header has been looked at; ITK's complaint in one line otherwise."""
    import SimpleITK

    check_header(path)
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    with _stderr_kept() as said:
        try:
            return read()
        except RuntimeError as problem:
            said.flush()
            said.seek(0)
            reason = said.readline().decode(errors="replace").strip() or itk_reason(problem)
            raise InputError.of(path, f"not readable ({reason})") from None


@contextlib.contextmanager
def _stderr_kept() -> Iterator[IO[bytes]]:
    """What ITK's C++ prints past Python while the block runs, in a file instead of before the user's eyes."""
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(before, 2)
            os.close(before)


def itk_grid(image: object, path: Path) -> Grid:
    """The grid of a 3D SimpleITK image or of a reader that knows its header; its world is LPS mm already.

    Raises:
        InputError: a spacing or origin that is not finite, axes that are not at right angles.
    """
    spacing, origin = image.GetSpacing(), image.GetOrigin()  # type: ignore[attr-defined]
    direction = np.asarray(image.GetDirection()).reshape(3, 3)  # type: ignore[attr-defined]
    check_place(spacing, origin, path)
    if np.abs(direction.T @ direction - np.eye(3)).max() > 1e-3:
        raise InputError.of(path, "sheared (its axes are not at right angles)", "resample it to a straight grid")
    x, y, z = image.GetSize()  # type: ignore[attr-defined]
    return Grid((z, y, x), spacing[::-1], origin, tuple(direction.ravel().tolist()))


def itk_reason(problem: RuntimeError) -> str:
    """The last words of an ITK exception, without its source file, addresses and paths."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    words = lines[-1] if lines else "unknown reason"
    return words.split("ERROR:")[-1].split("): ")[-1].strip()[:120]
