"""Change the bytes of sound files at random and read them: each reader returns or raises InputError, nothing else.

Run by hand: ``python -m tests.hostile.fuzz SECONDS [SEED]``; prints what a reader let through, and the input of it.
"""

from __future__ import annotations

import gzip
import logging
import random
import re
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK

from lungct.errors import InputError
from lungct.io.boxes_csv import DLCS_COLUMNS, read_nodules
from lungct.io.case_lists import read_case_slices, read_names
from lungct.io.coco import read_detections, read_truth
from lungct.io.manifest import read_manifest
from lungct.io.nifti import write_nifti
from lungct.io.npz import read_heatmaps, read_slice, write_heatmaps, write_slice
from lungct.io.points_csv import read_points
from lungct.io.volume_file import read_volume
from lungct.sources.source import read_source
from lungct.types import Grid, Heatmaps, Volume

TRUTH = (
    b'{"categories": [{"id": 1, "name": "nodule"}], "images": [{"id": 1, "file_name": "a.npz", "width": 16, '
    b'"height": 12, "lungct": {"case_id": "c", "spacing_mm": [1, 1, 2]}}], "annotations": [{"id": 1, "image_id": 1, '
    b'"category_id": 1, "bbox": [2, 3, 4, 5], "area": 20, "iscrowd": 0, "attributes": {"diameter_mm": 5.5}}]}'
)
FOUND = b'[{"image_id": 1, "category_id": 1, "bbox": [2.5, 3, 4, 5e0], "score": 0.5}]'
TABLE = (",".join(DLCS_COLUMNS) + "\ncase_1,case_1_01,case_1.nii.gz,0,-1.5,12,3,3,4,1,train\n").encode()
POINTS = b"seriesuid,coordX,coordY,coordZ,diameter_mm\n1.2.3,1,2,-3.5,6.25\n"


@dataclass(frozen=True)
class Target:
    """Sound files of which one is changed at a time, and what reads them."""

    files: tuple[Path, ...]
    read: Callable[[], Any]


def targets(folder: Path) -> Mapping[str, Target]:
    """Name -> a file of every format that is read, and a whole folder of every layout."""
    return {**_files(folder), **_layouts(folder)}


def _files(folder: Path) -> dict[str, Target]:
    hu = np.random.default_rng(0).integers(-1000, 400, (4, 5, 6)).astype(np.int16)
    write_nifti(folder / "case.nii.gz", Volume(hu, Grid(hu.shape, (2.0, 1.0, 1.0), (0.0, 0.0, 0.0))))
    write_slice(folder / "slice.npz", hu[:3])
    write_heatmaps(folder / "maps.npz", _heatmaps())
    for suffix in ("mha", "mhd", "nrrd", "nhdr"):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(hu), str(folder / f"itk_{suffix}.{suffix}"))
    packed = (folder / "case.nii.gz").read_bytes()
    mhd = b"NDims = 3\nDimSize = 6 5 4\nElementType = MET_SHORT\nElementSpacing = 1 1 2\nElementDataFile = LOCAL\n"
    nrrd = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 6 5 4\nencoding: raw\nendian: little\n\n"
    for name, data in {
        "case.nii": gzip.decompress(packed),
        "case.mha": mhd + hu.tobytes(),
        "case.nrrd": nrrd + hu.tobytes(),
        "nodules.csv": TABLE,
        "points.csv": POINTS,
        "truth.json": TRUTH,
        "sound.json": TRUTH,
        "found.json": FOUND,
        "manifest.ndjson": b'{"schema": "lungct.manifest/1", "command": "x"}\n',
        "slices.txt": b"case_1\n\ncase_2/17\n",
        "false.csv": b"case_id,z_index\ncase_1,3\ncase_2,17\n",
    }.items():
        (folder / name).write_bytes(data)
    truth = read_truth(folder / "sound.json")
    readers: dict[str, Callable[[Path], Any]] = {
        **dict.fromkeys(("case.nii", "case.nii.gz", "case.mha", "case.nrrd"), read_volume),
        **{f"itk_{suffix}.{suffix}": read_volume for suffix in ("mha", "mhd", "nrrd", "nhdr")},
        "nodules.csv": read_nodules,
        "points.csv": lambda path: list(read_points(path)),
        "truth.json": read_truth,
        "found.json": lambda path: read_detections(path, truth),
        "slice.npz": read_slice,
        "maps.npz": read_heatmaps,
        "manifest.ndjson": lambda path: read_manifest(path.parent),
        "slices.txt": read_names,
        "false.csv": read_case_slices,
    }
    return {name: Target((folder / name,), partial(read, folder / name)) for name, read in readers.items()}


def _layouts(folder: Path) -> dict[str, Target]:
    """Every layout, small; of its files any may be changed, tables and headers as well as voxels."""
    from tests.sources.layout_writers import FLAT, VOLUMES
    from tests.sources.lidc_writer import Ball, write_lidc
    from tests.sources.lung_pet_writer import write_patient
    from tests.sources.spheres import Disc, Sphere

    grid, spheres = Grid((4, 6, 5), (4.0, 3.0, 3.0), (-6.0, 5.0, 300.0)), [Sphere((0.0, 12.0, 305.0), 6.0)]
    discs = [[Disc((20.0, 20.0), 8.0), Disc((40.0, 30.0), 6.0)], [Disc((30.0, 20.0), 8.0)]]
    for name, write in VOLUMES.items():
        (folder / name).mkdir()
        write(folder / name, grid, spheres)
    for name, write_flat in FLAT.items():
        (folder / name).mkdir()
        write_flat(folder / name, discs)
    write_lidc(folder / "lidc", [Ball((10.0, 30.0, 36.0), 4.0, {reader: {} for reader in range(3)})])
    write_patient(folder / "lung-pet-ct-dx", "A0001", 0)
    found = {}
    for name in (*VOLUMES, *FLAT, "lidc", "lung-pet-ct-dx"):
        files = sorted(one for one in (folder / name).rglob("*") if one.is_file())
        found[name] = Target(tuple(files), partial(_read_all, folder / name))
    return found


def _read_all(folder: Path) -> None:
    contents = read_source(folder)
    for record in (*contents.scans, *contents.images):
        record.load()


def _heatmaps() -> Heatmaps:
    maps = np.linspace(0, 1, 20, dtype=np.float32).reshape(1, 4, 5)
    one = np.ones(1)
    box = np.array([[1, 1, 3, 3]], np.float32)
    label = one.astype(np.int64)
    return Heatmaps(1, "eigencam", maps.astype(np.float16), maps, box, one, label, label, "fpn.0", ("",), {"seed": 0})


INTERESTING = [
    b"",
    b"\0",
    b"\xff",
    b"-1",
    b"0",
    b"1e999",
    b"nan",
    b"null",
    b"[]",
    b"{}",
    b'"',
    b",",
    b"\n",
    b"<",
    b"&x;",
]


VALUE = re.compile(rb'"[^"\n]{0,40}"|-?\d+(\.\d+)?')
"""What may be replaced as a whole, so that what is round it still parses."""


def changed(data: bytes, chance: random.Random) -> bytes:
    """A few random changes: bytes flipped, cut, doubled, or replaced by what parsers trip over."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        at = chance.randrange(len(out) + 1)
        length = chance.choice((1, 1, 2, 4, 16))
        what = chance.randrange(6)
        if what == 0:
            out[at : at + length] = chance.randbytes(length)
        elif what == 1:
            del out[at : at + length]
        elif what == 2:
            out[at:at] = out[at : at + length]
        elif what == 3:
            out[at : at + length] = chance.choice(INTERESTING)
        elif what == 4 and (values := list(VALUE.finditer(out))):
            start, end = chance.choice(values).span()
            out[start:end] = chance.choice(INTERESTING)
        else:
            del out[at + 1 :]
    return bytes(out)


def fuzz(seconds: float, seed: int = 0) -> tuple[Counter[str], list[str]]:
    """How often each reader answered how, and a line and traceback for each answer that it should not give."""
    logging.getLogger("lungct").setLevel(logging.CRITICAL)
    warnings.simplefilter("error")
    chance = random.Random(seed)
    answers, problems = Counter[str](), []
    with tempfile.TemporaryDirectory() as name:
        known = targets(Path(name))
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            kind = chance.choice(list(known))
            path = chance.choice(known[kind].files)
            sound = path.read_bytes()
            data = changed(sound, chance)
            path.write_bytes(data)
            answer = _answer(known[kind].read)
            path.write_bytes(sound)
            answers[f"{kind}: {answer.splitlines()[0]}"] += 1
            if answer not in ("read", "refused"):
                problems.append(f"{kind} {path.name}: {data[:4000]!r}\n{answer}")
    return answers, problems


def _answer(read: Callable[[], Any]) -> str:
    try:
        read()
    except InputError as problem:
        return "refused" if str(problem).count("\n") == 0 else "a message of several lines"
    except Exception as problem:
        return f"{type(problem).__name__}: {problem}\n{traceback.format_exc()}"
    return "read"


if __name__ == "__main__":
    counted, found = fuzz(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    for line in [*(f"{count:8d}  {name}" for name, count in sorted(counted.items())), *found[:5]]:
        print(line)  # noqa: T201
    sys.exit(bool(found))
