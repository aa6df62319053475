"""What the header of a NIfTI says: number type, layout, and where in the world its voxels lie.

The sform places the voxels, as in nibabel, and the qform where there is none. Of a sheared sform (its axes not at right
angles, which ITK refuses) the qform is taken, if the two agree to half a voxel over the whole scan.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from lungct.errors import InputError
from lungct.io.place import check_place
from lungct.types import FloatArray, Grid

logger = logging.getLogger("lungct")
nibabel.imageglobals.logger.setLevel(logging.CRITICAL)  # it prints what it mends; what matters is refused here
RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SHEAR_TOLERANCE = 1e-3
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}  # metres, micrometres; 2 is mm, and so is what says nothing


def new_header(shape: tuple[int, ...], affine: FloatArray, dtype: np.dtype[Any]) -> Any:
    """The header of a little-endian single-file NIfTI-1 without an extension or a scale, its affine in RAS."""
    header = nibabel.Nifti1Image(np.zeros((1,) * len(shape), dtype), affine, dtype=dtype).header
    header.set_data_shape(shape)
    header.set_xyzt_units("mm")
    header.set_qform(affine, code=1)
    header.set_sform(affine, code=1)
    header.set_data_offset(352)
    header.set_slope_inter(1.0, 0.0)
    header["magic"] = b"n+1"
    return header


def header_of(data: bytes) -> Any:
    """The NIfTI-1 or NIfTI-2 header that a file begins with.

    Raises:
        ValueError, HeaderDataError: it is none, or says what cannot be.
    """
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


def shape_of(header: Any, path: Path) -> tuple[int, ...]:
    """(X, Y, Z).

    Raises:
        InputError: not one 3D volume.
    """
    shape: tuple[int, ...] = header.get_data_shape()
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 1:
        raise InputError.of(path, f"shape {header.get_data_shape()}, expected one 3D volume")
    return shape


def layout_of(header: Any, most: int, path: Path) -> tuple[Any, int, int]:
    """The voxels' number type, and the bytes before them and up to their end, of which there are at most ``most``.

    Raises:
        InputError: voxels that are no numbers.
        EOFError: more voxels than the file can hold.
    """
    kind = header.get_data_dtype()
    if kind.fields is not None or kind.kind == "c":
        raise InputError.of(path, "colour or complex voxels, expected HU")
    offset = int(header.get_data_offset())
    size = offset + math.prod(map(int, shape_of(header, path))) * kind.itemsize
    if size > most:
        raise EOFError("fewer voxels than its header says")
    return kind, offset, size


def scaled(voxels: NDArray[Any], header: Any) -> NDArray[Any]:
    """The voxels themselves where no slope asks for more, else float32."""
    slope, intercept = header.get_slope_inter()
    if slope in (None, 1.0) and intercept in (None, 0.0):
        return voxels
    values = voxels.astype(np.float32)
    values *= np.float32(slope)
    values += np.float32(intercept or 0.0)
    return values


def grid_of(header: Any, shape: tuple[int, ...], path: Path) -> Grid:
    """The LPS grid of an (X, Y, Z) volume.

    Raises:
        InputError: its place is not told, or its axes are not at right angles.
    """
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
