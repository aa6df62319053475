"""Change the bytes of sound files at random and read them: each reader returns or raises InputError, nothing else.

Run by hand: ``python -m tests.hostile.fuzz SECONDS [SEED]``; prints what a reader let through, and the input of it.
"""

from __future__ import annotations

import gzip
import logging
import random
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lungct.errors import InputError
from lungct.io.boxes_csv import DLCS_COLUMNS, read_nodules
from lungct.io.coco import read_detections, read_truth
from lungct.io.manifest import read_manifest
from lungct.io.nifti import write_nifti
from lungct.io.npz import read_heatmaps, read_slice, write_heatmaps, write_slice
from lungct.io.volume_file import read_volume
from lungct.sources import voc2d
from lungct.sources.source import SourceOptions
from lungct.types import Grid, Heatmaps, Volume

TRUTH = (
    b'{"categories": [{"id": 1, "name": "nodule"}], "images": [{"id": 1, "file_name": "a.npz", "width": 16, '
    b'"height": 12, "lungct": {"case_id": "c", "spacing_mm": [1, 1, 2]}}], "annotations": [{"id": 1, "image_id": 1, '
    b'"category_id": 1, "bbox": [2, 3, 4, 5], "area": 20, "iscrowd": 0, "attributes": {"diameter_mm": 5.5}}]}'
)
FOUND = b'[{"image_id": 1, "category_id": 1, "bbox": [2.5, 3, 4, 5e0], "score": 0.5}]'
TABLE = (",".join(DLCS_COLUMNS) + "\ncase_1,case_1_01,case_1.nii.gz,0,-1.5,12,3,3,4,1,train\n").encode()
VOC = (
    b"<annotation><size><width>32</width><height>24</height></size><object><name>nodule</name><bndbox>"
    b"<xmin>4</xmin><ymin>5</ymin><xmax>10</xmax><ymax>12</ymax></bndbox></object></annotation>"
)
Reader = Callable[[Path], Any]


def targets(folder: Path) -> Mapping[str, tuple[bytes, str, Reader]]:
    """Name -> a sound file's bytes, the name it is stored under, and what reads it."""
    hu = np.random.default_rng(0).integers(-1000, 400, (4, 5, 6)).astype(np.int16)
    write_nifti(folder / "seed.nii.gz", Volume(hu, Grid(hu.shape, (2.0, 1.0, 1.0), (0.0, 0.0, 0.0))))
    packed = (folder / "seed.nii.gz").read_bytes()
    write_slice(folder / "seed.npz", hu[:3])
    write_heatmaps(folder / "maps.npz", _heatmaps())
    (folder / "truth.json").write_bytes(TRUTH)
    truth = read_truth(folder / "truth.json")
    mhd = b"NDims = 3\nDimSize = 6 5 4\nElementType = MET_SHORT\nElementSpacing = 1 1 2\nElementDataFile = LOCAL\n"
    nrrd = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 6 5 4\nencoding: raw\nendian: little\n\n"
    return {
        "nii": (gzip.decompress(packed), "case.nii", read_volume),
        "nii.gz": (packed, "case.nii.gz", read_volume),
        "mha": (mhd + hu.tobytes(), "case.mha", read_volume),
        "nrrd": (nrrd + hu.tobytes(), "case.nrrd", read_volume),
        "nodules.csv": (TABLE, "nodules.csv", read_nodules),
        "truth.json": (TRUTH, "some.json", read_truth),
        "detections.json": (FOUND, "found.json", lambda path: read_detections(path, truth)),
        "slice.npz": ((folder / "seed.npz").read_bytes(), "slice.npz", read_slice),
        "heatmaps.npz": ((folder / "maps.npz").read_bytes(), "some.npz", read_heatmaps),
        "manifest.ndjson": (b'{"schema": "lungct.manifest/1", "command": "x"}\n', "manifest.ndjson", _manifest),
        "voc.xml": (VOC, "annotations/image_1.xml", _voc),
    }


def _heatmaps() -> Heatmaps:
    maps = np.linspace(0, 1, 20, dtype=np.float32).reshape(1, 4, 5)
    one = np.ones(1)
    box = np.array([[1, 1, 3, 3]], np.float32)
    label = one.astype(np.int64)
    return Heatmaps(1, "eigencam", maps.astype(np.float16), maps, box, one, label, label, "fpn.0", ("",), {"seed": 0})


def _manifest(path: Path) -> Any:
    return read_manifest(path.parent)


def _voc(path: Path) -> Any:
    (path.parent.parent / "images").mkdir(exist_ok=True)
    (path.parent.parent / "images" / "image_1.png").touch()
    return voc2d.read(path.parent.parent, SourceOptions())


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


def changed(data: bytes, chance: random.Random) -> bytes:
    """A few random changes: bytes flipped, cut, doubled, or replaced by what parsers trip over."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        at = chance.randrange(len(out) + 1)
        length = chance.choice((1, 1, 2, 4, 16))
        what = chance.randrange(5)
        if what == 0:
            out[at : at + length] = chance.randbytes(length)
        elif what == 1:
            del out[at : at + length]
        elif what == 2:
            out[at:at] = out[at : at + length]
        elif what == 3:
            out[at : at + length] = chance.choice(INTERESTING)
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
            sound, file_name, read = known[kind]
            path = Path(name, file_name)
            path.parent.mkdir(exist_ok=True)
            data = changed(sound, chance)
            path.write_bytes(data)
            answer = _answer(partial(read, path))
            answers[f"{kind}: {answer.splitlines()[0]}"] += 1
            if answer not in ("read", "refused"):
                problems.append(f"{kind}: {data!r}\n{answer}")
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
