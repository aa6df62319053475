"""One volume file of any format -> Volume, or its grid alone: NIfTI by our own reader, MHD, MHA, NRRD by SimpleITK."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungct.errors import InputError
from lungct.io.nifti import read_nifti, read_nifti_grid
from lungct.types import Grid, Volume

NIFTI_SUFFIXES = (".nii.gz", ".nii")
ITK_SUFFIXES = (".mhd", ".mha", ".nrrd", ".nhdr")
NRRD_SUFFIXES = (".nrrd", ".nhdr")
LONGEST_NRRD_LINE = 1 << 20
_NRRD_LINE = re.compile(rb"NRRD.*|#.*|[\x20-\x7e]+:[\t\x20-\x7e\x80-\xff]*")
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


def read_grid(path: Path) -> Grid:
    """The grid that :func:`read_volume` would give, from the file's header alone.

    Raises:
        InputError: as :func:`read_volume`, as far as the header tells.
    """
    if _checked_suffix(path) in NIFTI_SUFFIXES:
        return read_nifti_grid(path)
    import SimpleITK

    _check_nrrd_header(path)
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as problem:
        raise InputError.of(path, f"not readable ({itk_reason(problem)})") from None
    return _read_itk(path).grid if reader.GetDimension() != 3 else itk_grid(reader, path)


def read_plane(path: Path) -> tuple[NDArray[Any], tuple[float, float]]:
    """(Y, X) array and its (x, y) pixel spacing in mm from a file of one slice, stored as 2D or as 3D of one slice.

    A file that does not say its spacing gives 1 x 1.

    Raises:
        InputError: missing, not readable, more than one slice, colour.
    """
    if not path.is_file():
        raise InputError.of(path, "no such file")
    image = _itk_image(path)
    if image.GetSize()[2:] not in ((), (1,)):
        raise InputError.of(path, f"size {image.GetSize()}, expected one slice")
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

    _check_nrrd_header(path)
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        return SimpleITK.ReadImage(str(path))
    except RuntimeError as problem:
        raise InputError.of(path, f"not readable ({itk_reason(problem)})") from None


def _check_nrrd_header(path: Path) -> None:
    """ITK's NRRD reader dies, and Python with it, of voxels among the header's lines, as where the blank line behind
    them is lost."""
    if path.suffix.lower() not in NRRD_SUFFIXES:
        return
    try:
        with open(path, "rb") as stream:
            while line := stream.readline(LONGEST_NRRD_LINE).rstrip(b"\r\n"):
                if not _NRRD_LINE.fullmatch(line):
                    raise InputError.of(path, "broken NRRD header", "expected lines 'field: value' up to a blank line")
                if line.lower().startswith(b"data file: list"):
                    return
    except OSError as problem:
        raise InputError.of(path, f"not readable ({problem.strerror})") from None


def _itk_voxels(image: Any, path: Path) -> NDArray[Any]:
    import SimpleITK

    if image.GetNumberOfComponentsPerPixel() != 1 or "complex" in image.GetPixelIDTypeAsString():
        raise InputError.of(path, "colour, vector or complex voxels, expected HU")
    voxels: NDArray[Any] = SimpleITK.GetArrayFromImage(image)
    return voxels


def itk_grid(image: object, path: Path) -> Grid:
    """The grid of a 3D SimpleITK image or of a reader that knows its header; its world is LPS mm already.

    Raises:
        InputError: a spacing or origin that is not finite, axes that are not at right angles.
    """
    spacing, origin = image.GetSpacing(), image.GetOrigin()  # type: ignore[attr-defined]
    direction = np.asarray(image.GetDirection()).reshape(3, 3)  # type: ignore[attr-defined]
    if not np.isfinite([*spacing, *origin]).all() or min(spacing) <= 1e-6:
        raise InputError.of(path, f"spacing {spacing} or origin {origin} makes no sense")
    if np.abs(direction.T @ direction - np.eye(3)).max() > 1e-3:
        raise InputError.of(path, "sheared (its axes are not at right angles)", "resample it to a straight grid")
    x, y, z = image.GetSize()  # type: ignore[attr-defined]
    return Grid((z, y, x), spacing[::-1], origin, tuple(direction.ravel().tolist()))


def itk_reason(problem: RuntimeError) -> str:
    """The last words of an ITK exception, without its source file, addresses and paths."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    words = lines[-1] if lines else "unknown reason"
    return words.split("ERROR:")[-1].split("): ")[-1].strip()[:120]
