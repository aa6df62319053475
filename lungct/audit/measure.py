"""One scan or image -> its digests, its looks and the numbers that every check judges; a case of ``run_cases``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungct.audit import contrast, field_of_view, hu_values, lungs, noise, slice_order, voxel_shape
from lungct.audit.appearance import SEEN_HU, Planes, coarse_of, planes_of
from lungct.audit.items import Item
from lungct.ct.geometry import to_canonical
from lungct.ct.hu import clip_hu
from lungct.ct.lung import coarse_lungs
from lungct.errors import InputError
from lungct.preprocessing.cases import Record, Running, run_cases
from lungct.types import Volume

DIGEST_BYTES = 16
SLICE_DIGEST_BYTES = 8


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured of one scan or image.

    Attributes:
        facts: numbers by name, for the checks and for ``measures.csv``.
        digest: of size and voxels, HU outside -1000..400 clipped; empty where unreadable or of one value.
        slice_digests: the same of each slice of a scan that is not of one value.
        coarse: (K * 1024,) its coarse view; None where unreadable.
        planes: what the fine view of a scan is made from; that of an image is read again when it is needed.
        problem: why it cannot be read; empty where it can.
    """

    facts: Mapping[str, float] = field(default_factory=dict)
    digest: bytes = b""
    slice_digests: tuple[bytes, ...] = ()
    coarse: NDArray[np.float16] | None = None
    planes: Planes | None = None
    problem: str = ""


def measure_items(items: list[Item], running: Running) -> list[Measured]:
    """Measure every item, in their order; what cannot be read is told, never raised."""
    by_name = {item.name: item for item in items}
    what = "scans" if items and items[0].is_scan else "images"
    outcome = run_cases(what, measure_item, by_name, running)
    return [Measured(**record) for record in outcome.records]


def measure_item(item: Item) -> Record:
    """The fields of :class:`Measured`, as plain values that pass between processes."""
    try:
        raw = item.load()
    except InputError as problem:
        return {"problem": reason_of(problem)}
    volume = to_canonical(raw)
    if volume.hu.dtype.kind == "f" and not np.isfinite(volume.hu).all():
        if not np.isfinite(volume.hu).any():
            return {"problem": "no voxel is a finite number"}
        volume = Volume(np.where(np.isfinite(volume.hu), volume.hu, SEEN_HU[0]), volume.grid)
    facts = {**hu_values.measure(volume), **noise.measure(volume)}
    planes = planes_of(volume.hu)
    coarse = coarse_of(planes).astype(np.float16)
    if not item.is_scan:
        return {"facts": facts, "digest": _digest(volume.hu), "coarse": coarse}
    mask = coarse_lungs(volume.hu)
    facts |= voxel_shape.measure(raw.grid, item.input_spacing_mm_zyx)
    facts |= slice_order.measure(volume) | field_of_view.measure(volume)
    facts |= lungs.measure(volume, mask) | contrast.measure(volume, mask)
    slices = tuple(_slice_digest(plane) for plane in volume.hu if plane.min() < plane.max())
    digest = hashlib.blake2b(b"".join((str(volume.hu.shape).encode(), *slices)), digest_size=DIGEST_BYTES).digest()
    return {
        "facts": facts,
        "digest": digest if slices else b"",
        "slice_digests": slices,
        "coarse": coarse,
        "planes": planes,
    }


def reason_of(problem: InputError) -> str:
    """An error without the file it begins with, whose name may tell a patient's."""
    head, _, rest = problem.message.partition(": ")
    return rest or head


def _digest(hu: NDArray[Any]) -> bytes:
    """Of an image; empty where all pixels have one value, which makes no two images copies."""
    return _slice_digest(hu[0], DIGEST_BYTES) if hu.min() < hu.max() else b""


def _slice_digest(plane: NDArray[Any], size: int = SLICE_DIGEST_BYTES) -> bytes:
    seen = np.ascontiguousarray(clip_hu(plane, SEEN_HU))
    return hashlib.blake2b(seen.tobytes(), digest_size=size, key=str(seen.shape).encode()).digest()
