"""Reads the text header of an MHD, MHA or NRRD file and refuses what would make ITK's own readers hang or swell."""

from __future__ import annotations

import math
import re
from pathlib import Path

from lungct.errors import InputError

LONGEST = 1 << 16
_NRRD_LINE = re.compile(r"#.*|[\x20-\x7e]+:[\t\x20-\x7e\x80-\xff]*")
MOST_VOXELS = 1 << 33
BYTES = {
    "char": 1, "uchar": 1, "int8": 1, "uint8": 1, "signed char": 1, "unsigned char": 1,
    "short": 2, "ushort": 2, "int16": 2, "uint16": 2, "signed short": 2, "unsigned short": 2, "short int": 2,
    "int": 4, "uint": 4, "int32": 4, "uint32": 4, "long": 4, "ulong": 4, "float": 4, "signed int": 4, "unsigned int": 4,
    "long_long": 8, "ulong_long": 8, "int64": 8, "uint64": 8, "double": 8, "long long": 8, "unsigned long long": 8,
}  # fmt: skip
"""Bytes of a number type, MetaImage's ``MET_`` cut off or as NRRD writes it."""


def check_header(path: Path) -> None:
    """Pass a header whose dimensions and sizes are numbers that fit the file.

    Raises:
        InputError: no such header, dimensions or sizes missing or senseless, more voxels than bytes.
    """
    with open(path, "rb") as stream:
        text = stream.read(LONGEST).decode("latin-1")
    nrrd = path.suffix.lower() in (".nrrd", ".nhdr")
    if nrrd and not text.startswith("NRRD"):
        raise InputError.of(path, "not readable (no NRRD magic)")
    fields = _nrrd_fields(text, path) if nrrd else _meta_fields(text)
    names = ("dimension", "sizes", "type") if nrrd else ("NDims", "DimSize", "ElementType")
    dimension, sizes, kind = (fields.get(name, "") for name in names)
    count = _voxels(path, dimension, sizes, names)
    width = BYTES.get(kind.lower().removeprefix("met_"))
    if width is None:
        raise InputError.of(path, f"not readable ({names[2]} is {kind[:40]!r}, no number type)")
    inside = fields.get("ElementDataFile", "LOCAL").upper() == "LOCAL" and not fields.keys() & {"data file", "datafile"}
    packed = fields.get("CompressedData", "False").lower() == "true" or fields.get("encoding", "raw") != "raw"
    if inside and not packed and count * width > path.stat().st_size:
        raise InputError.of(path, f"not readable (cut short: {count} voxels stated, {path.stat().st_size} bytes there)")


def is_raw_meta(path: Path) -> bool:
    """Whether a file is a MetaImage whose voxels are not packed."""
    if path.suffix.lower() not in (".mhd", ".mha"):
        return False
    with open(path, "rb") as stream:
        fields = _meta_fields(stream.read(LONGEST).decode("latin-1"))
    return fields.get("CompressedData", "False").lower() != "true"


def _voxels(path: Path, dimension: str, sizes: str, names: tuple[str, ...]) -> int:
    try:
        dimensions, extents = int(dimension), [int(one) for one in sizes.split()]
    except ValueError:
        raise InputError.of(path, f"not readable ({names[0]} or {names[1]} is missing or no number)") from None
    if not 1 <= dimensions <= 5 or len(extents) != dimensions or min(extents) < 1:
        raise InputError.of(path, f"not readable ({names[0]} is {dimension[:20]}, {names[1]} {sizes[:60]})")
    count = math.prod(extents)
    if count > MOST_VOXELS:
        raise InputError.of(path, f"{count} voxels stated, more than any scan has")
    return count


def _meta_fields(text: str) -> dict[str, str]:
    """Lines ``Key = value`` up to ElementDataFile, which is the last one."""
    fields = {}
    for line in text.splitlines():
        key, mark, value = line.partition("=")
        if not mark:
            break
        fields[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            break
    return fields


def _nrrd_fields(text: str, path: Path) -> dict[str, str]:
    """Lines ``key: value`` up to the first empty one.

    Voxels among the lines, as where the empty one is lost, end ITK's NRRD reader and Python with it.
    """
    head = text.replace("\r\n", "\n").split("\n\n", 1)[0]
    fields = {}
    for line in head.rstrip("\n").split("\n")[1:]:
        if not _NRRD_LINE.fullmatch(line):
            raise InputError.of(path, "broken NRRD header", "expected lines 'field: value' up to a blank line")
        if not line.startswith("#"):
            key, _, value = line.partition(":")
            fields[key.strip().lower()] = value.strip()
        if line.lower().startswith("data file: list"):
            break
    return fields
