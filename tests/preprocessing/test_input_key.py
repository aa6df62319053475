"""The key of a case changes with its files, also with those that a header points to, and with what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from lungct.io.volume_file import read_volume
from lungct.preprocessing.input_key import image_key, scan_key
from lungct.types import Nodule, Scan, SliceImage


def test_scan_key_follows_header_voxels_and_nodules(tmp_path: Path) -> None:
    header, voxels = tmp_path / "a.mhd", tmp_path / "a.raw"
    header.write_bytes(b"header")
    voxels.write_bytes(b"1")
    scan = Scan("a", "a", partial(read_volume, header))
    first = scan_key(scan)
    assert scan_key(replace(scan)) == first
    assert scan_key(replace(scan, nodules=(Nodule("n", "a", "a", (0, 0, 0), (1, 1, 1)),))) != first
    assert scan_key(replace(scan, attributes={"subset": 1})) != first
    voxels.write_bytes(b"12")
    second = scan_key(scan)
    assert second != first
    header.write_bytes(b"another")
    assert scan_key(scan) not in (first, second)


def test_image_key_follows_boxes() -> None:
    load: Callable[..., np.ndarray] = partial(np.zeros, (2, 2), np.int16)
    image = SliceImage("i", "p", "c", load, None, np.zeros((1, 4)), ("nodule",))
    assert image_key(image) == image_key(replace(image))
    assert image_key(image) != image_key(replace(image, boxes_xyxy_px=np.ones((1, 4))))


def test_load_of_unknown_files_is_refused() -> None:
    with pytest.raises(TypeError, match="partial"):
        scan_key(Scan("a", "a", lambda: read_volume(Path("a"))))
