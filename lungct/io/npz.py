"""NPZ files of slices and heatmaps <-> arrays; uncompressed, no pickle, the same bytes for the same input."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from lungct.errors import InputError
from lungct.io import atomic
from lungct.types import Heatmaps

SLICE_SCHEMA = "lungct.slice/1"
HEATMAP_SCHEMA = "lungct.heatmaps/1"
_LAYOUT = (
    "needed: heatmaps (D, Y, X) in 0..1, boxes_xyxy_px (D, 4) in pixel edges; "
    "may be there: scores (D,), labels (D,), image_id, method"
)
_OF_MAPS = ("heatmaps", "boxes_xyxy_px", "scores", "labels", "image_id", "method", "flags", "provenance")
_UNREADABLE: tuple[Any, ...] = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    RuntimeError,  # an encrypted member, or NotImplementedError: a version or packing that zipfile does not know
    struct.error,
    zlib.error,
    isal_zlib.error,
    zipfile.BadZipFile,
)


def write_slice(path: Path, image_hu: NDArray[np.int16]) -> None:
    """Write one (C, Y, X) int16 HU slice stack, for a file inside a staged folder."""
    if image_hu.ndim != 3 or image_hu.dtype != np.int16:
        raise ValueError(f"a slice is (C, Y, X) int16, not {image_hu.shape} {image_hu.dtype}")
    write_arrays(path, {"image_hu": image_hu, "schema": np.array(SLICE_SCHEMA)}, compressed=False)


def read_slice(path: Path) -> NDArray[np.int16]:
    """Read a (C, Y, X) int16 HU slice stack.

    Raises:
        InputError: missing, not an NPZ, or not a slice.
    """
    image: NDArray[np.int16] = read_arrays(path, ("image_hu",))["image_hu"]
    if image.ndim != 3 or image.dtype != np.int16:
        raise InputError.of(path, f"image_hu is {image.shape} {image.dtype}, expected (C, Y, X) int16")
    return image


def write_heatmaps(path: Path, maps: Heatmaps) -> None:
    """Write the maps of one image; deflated, for they are smooth."""
    arrays: dict[str, Any] = {
        "heatmaps": maps.heatmaps,
        "raw": maps.raw,
        "boxes_xyxy_px": np.asarray(maps.boxes_xyxy_px, dtype=np.float32),
        "scores": np.asarray(maps.scores, dtype=np.float32),
        "labels": maps.labels,
        "matched_annotation_id": maps.matched_annotation_id,
        "method": np.array(maps.method),
        "layers": np.array(maps.layers),
        "image_id": np.array(maps.image_id),
        "flags": np.array(maps.flags or [""] * len(maps.scores), dtype=str),
        "provenance": np.array(json.dumps(maps.provenance, sort_keys=True)),
        "schema": np.array(HEATMAP_SCHEMA),
    }
    if maps.channel_shapley is not None:
        arrays["channel_shapley"] = maps.channel_shapley
    write_arrays(path, arrays, compressed=True)


def read_heatmaps(path: Path, categories: Collection[int] = (1,), *, raw: bool = True) -> Heatmaps:
    """Read the maps of one image, ours or another tool's with at least ``heatmaps`` and ``boxes_xyxy_px``.

    Boxes without ``labels`` are of the only one of ``categories``, the COCO ids of the truth. Without ``raw`` the maps
    stand for the raw ones, too, and what only the report of an explanation tells is not read: it is quicker so.

    Raises:
        InputError: missing, not an NPZ, its arrays do not fit, or labels are missing among several categories.
    """
    arrays = read_arrays(path, ("heatmaps", "boxes_xyxy_px"), only=None if raw else _OF_MAPS)
    heatmaps, boxes = arrays["heatmaps"], arrays["boxes_xyxy_px"]
    if heatmaps.ndim != 3 or boxes.shape != (len(heatmaps), 4):
        problem = f"heatmaps {heatmaps.shape} and boxes {boxes.shape}, expected (D, Y, X) and (D, 4)"
        raise InputError.of(path, problem, _LAYOUT)
    count = len(heatmaps)
    if "labels" not in arrays and len(categories) > 1:
        raise InputError.of(
            path,
            f"no array labels in it, and the truth has {len(categories)} categories",
            "add labels, a category id a box",
        )
    _check_optional(path, arrays, count)
    image_id = arrays.get("image_id", np.array(path.stem)).item()
    return Heatmaps(
        image_id=image_id,
        method=str(arrays.get("method", np.array(path.parent.name)).item()),
        heatmaps=heatmaps,
        raw=arrays.get("raw", heatmaps),
        boxes_xyxy_px=boxes,
        scores=arrays.get("scores", np.ones(count, np.float32)),
        labels=arrays.get("labels", np.full(count, next(iter(categories), 1), np.int64)),
        matched_annotation_id=arrays.get("matched_annotation_id", np.full(count, -1, np.int64)),
        layers=str(arrays.get("layers", np.array("")).item()),
        flags=tuple(str(flag) for flag in arrays.get("flags", np.array([""] * count))),
        provenance=_provenance(path, arrays),
        channel_shapley=arrays.get("channel_shapley"),
    )


def _check_optional(path: Path, arrays: dict[str, NDArray[Any]], count: int) -> None:
    for name in ("heatmaps", "boxes_xyxy_px", "scores"):
        if name in arrays and arrays[name].dtype.kind not in "biuf":
            raise InputError.of(path, f"{name} is {arrays[name].dtype}, expected numbers")
    for name in ("scores", "labels", "matched_annotation_id", "flags", "raw", "channel_shapley"):
        if name in arrays and (arrays[name].ndim == 0 or len(arrays[name]) != count):
            raise InputError.of(path, f"{name} is {arrays[name].shape}, and there are {count} heatmaps", _LAYOUT)
    for name in ("image_id", "method", "layers", "provenance"):
        if name in arrays and arrays[name].size != 1:
            raise InputError.of(path, f"{name} is {arrays[name].shape}, expected one value", _LAYOUT)


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    found: NDArray[Any] = np.lib.format.read_array(io.BytesIO(_unpacked(archive, member)), allow_pickle=False)
    return found


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """A member's bytes; what is merely deflated goes through python-isal, in half of zipfile's time."""
    if member.compress_type != zipfile.ZIP_DEFLATED or member.flag_bits & _ENCRYPTED or archive.fp is None:
        return archive.read(member)
    archive.fp.seek(member.header_offset)
    heading = archive.fp.read(_HEADING.size)
    *_, name_size, extra_size = _HEADING.unpack(heading)
    archive.fp.seek(name_size + extra_size, io.SEEK_CUR)
    # One byte more than the directory promises is enough to find out that it lies, however much would follow.
    unpacker = isal_zlib.decompressobj(-zlib.MAX_WBITS)
    data = unpacker.decompress(archive.fp.read(member.compress_size), member.file_size + 1)
    if len(data) != member.file_size or isal_zlib.crc32(data) != member.CRC:
        raise zipfile.BadZipFile(f"Bad CRC-32 for file {member.filename!r}")
    return bytes(data)


_ENCRYPTED = 1
_HEADING = struct.Struct("<4s5H3L2H")
"""A member's own heading: signature, versions and times, checksum and sizes, lengths of its name and extra field."""


def _provenance(path: Path, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    if "provenance" not in arrays:
        return {}
    try:
        return dict(json.loads(str(arrays["provenance"].item())))
    except (ValueError, TypeError):
        raise InputError.of(path, "provenance is no JSON object", "leave it out") from None


class Heading(NamedTuple):
    """What a heatmap file says of itself.

    Attributes:
        image_id: None where it says none.
        scored: whether its boxes have scores.
    """

    image_id: int | str | None
    method: str
    scored: bool


def read_heatmaps_heading(path: Path) -> Heading:
    """What a heatmap file says, without unpacking the maps.

    Raises:
        InputError: missing, or not an NPZ.
    """
    arrays = read_arrays(path, (), only=("image_id", "method", "scores"))
    image_id = arrays["image_id"].item() if "image_id" in arrays else None
    return Heading(image_id, str(arrays.get("method", np.array(path.parent.name)).item()), "scores" in arrays)


def write_arrays(path: Path, arrays: dict[str, Any], *, compressed: bool) -> None:
    """Write named arrays, for a file inside a staged folder."""
    stream = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(stream, **arrays)
    atomic.write_bytes(path, stream.getvalue(), durable=False)


def read_arrays(path: Path, required: tuple[str, ...], only: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """Read every array of an NPZ, or those of ``only`` that are there; ``required`` ones must be in it.

    Raises:
        InputError: missing, not an NPZ, one that holds objects, or without a required array.
    """
    try:
        with open(path, "rb") as stream:
            if not zipfile.is_zipfile(stream):
                raise InputError.of(path, "not an NPZ file, or cut short")
            stream.seek(0)
            with zipfile.ZipFile(stream) as archive:
                members = {one.filename.removesuffix(".npy"): one for one in archive.infolist()}
                wanted = {name: one for name, one in members.items() if only is None or name in only}
                arrays = {name: _array(archive, one) for name, one in wanted.items()}
    except FileNotFoundError:
        raise InputError.of(path, "no such file") from None
    except _UNREADABLE as problem:
        raise InputError.of(path, f"not readable as NPZ ({problem})") from None
    missing = [name for name in required if name not in arrays]
    if missing:
        found = ", ".join(arrays) or "nothing"
        hint = _LAYOUT if "heatmaps" in required else f"needed: {', '.join(required)}"
        raise InputError.of(path, f"no array {', '.join(missing)} in it, found {found}", hint)
    return arrays
