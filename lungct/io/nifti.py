"""NIfTI <-> Volume: the only module that knows RAS against LPS, qform and sform.

On disk: RAS orientation (index i grows to the right, j to the front, k to the head), qform = sform, code 1, mm. In
memory: (Z, Y, X) and LPS. Gzip goes through python-isal, several times faster than zlib at about its size.
"""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from isal import igzip, isal_zlib

from lungct.errors import InputError
from lungct.io import atomic
from lungct.types import Grid, Volume

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
COMPRESSION = 1


def write_nifti(path: Path, volume: Volume, *, durable: bool = True, reorient: bool = True) -> None:
    """Write a volume (int16 HU or uint8 mask) as ``.nii.gz``, flipped to RAS; the same bytes for the same volume.

    ``reorient=False`` keeps the volume's own index order, flips and all.
    """
    voxels, affine = np.ascontiguousarray(volume.hu).transpose(2, 1, 0), RAS_FROM_LPS @ volume.grid.affine_lps
    if reorient:
        voxels, affine = _to_ras(voxels, affine)
    image = nibabel.Nifti1Image(voxels, affine, dtype=voxels.dtype)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    header = io.BytesIO()
    image.header.set_data_offset(352)
    image.header["magic"] = b"n+1"
    image.header.write_to(header)
    with atomic.atomic_file(path, durable=durable) as stream:
        stream.write(igzip.compress(header.getvalue() + voxels.tobytes(order="F"), COMPRESSION, mtime=0))


def _to_ras(voxels: np.ndarray[Any, Any], affine: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    orientation = nibabel.orientations.io_orientation(affine)
    flipped = nibabel.orientations.apply_orientation(voxels, orientation)
    return flipped, affine @ nibabel.orientations.inv_ornt_aff(orientation, voxels.shape)


def read_nifti(path: Path) -> Volume:
    """Read a 3D NIfTI in its stored index order; integer types without a slope stay as they are, others are float32.

    Raises:
        InputError: missing, truncated, not NIfTI, not 3D, a geometry that is missing, singular or sheared.
    """
    try:
        with open(path, "rb") as stream:
            packed = stream.read()
        data = igzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else packed
        image = nibabel.Nifti1Image.from_bytes(data)
        voxels = _voxels(image, path)
    except FileNotFoundError:
        raise InputError.of(path, "no such file") from None
    except (OSError, EOFError, ValueError, zlib.error, isal_zlib.error, nibabel.filebasedimages.ImageFileError) as e:
        raise InputError.of(path, f"not readable as NIfTI ({' '.join(str(e).split())[:120]})") from None
    return Volume(voxels.transpose(2, 1, 0), _grid(image, voxels.shape, path))


def _voxels(image: Any, path: Path) -> np.ndarray[Any, Any]:
    shape = image.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 1:
        raise InputError.of(path, f"shape {image.shape}, expected one 3D volume")
    if image.get_data_dtype().fields is not None or image.get_data_dtype().kind == "c":
        raise InputError.of(path, "colour or complex voxels, expected HU")
    if image.dataobj.slope in (None, 1.0) and image.dataobj.inter in (None, 0.0):
        return np.asanyarray(image.dataobj).reshape(shape)
    return np.asarray(image.dataobj.get_scaled(np.float32)).astype(np.float32, copy=False).reshape(shape)


def _grid(image: Any, shape: tuple[int, ...], path: Path) -> Grid:
    if int(image.header["qform_code"]) == 0 and int(image.header["sform_code"]) == 0:
        raise InputError.of(path, "neither qform nor sform is set, so its place in the world is unknown")
    affine = RAS_FROM_LPS @ image.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or (spacing <= 1e-6).any():
        raise InputError.of(path, "affine with a zero or non-finite spacing")
    direction = affine[:3, :3] / spacing
    if np.abs(direction.T @ direction - np.eye(3)).max() > 1e-3:
        raise InputError.of(path, "sheared affine (its axes are not at right angles)", "resample it to a straight grid")
    scale = {"meter": 1000.0, "micron": 0.001}.get(image.header.get_xyzt_units()[0], 1.0)
    return Grid(
        (shape[2], shape[1], shape[0]),
        tuple((spacing[::-1] * scale).tolist()),
        tuple((affine[:3, 3] * scale).tolist()),
        tuple(direction.ravel().tolist()),
    )
