"""Tiny 2D sources of several classes, of which most patients have only one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests.sources.layout_writers import DL_HEADER

SIZE_XY = (24, 16)
PATIENTS = 9


def _hu(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(-1000, 400, SIZE_XY[::-1])


def write_coco(folder: Path) -> None:
    """One image a patient; the first has a class of its own, the last no box."""
    (folder / "images").mkdir(parents=True)
    notes, images = [], []
    for number in range(PATIENTS):
        name = f"image_{number}.png"
        Image.fromarray((_hu(number) + 1024).astype(np.uint16)).save(folder / "images" / name)
        images.append({"id": number, "file_name": name, "width": SIZE_XY[0], "height": SIZE_XY[1]})
        box = {"id": number, "image_id": number, "category_id": 7 if number else 9, "bbox": [3, 4, 5, 6], "iscrowd": 0}
        notes += [box] if number < PATIENTS - 1 else []
    names = [{"id": 9, "name": "solid"}, {"id": 7, "name": "subsolid"}, {"id": 8, "name": "nobody has it"}]
    (folder / "all.json").write_text(json.dumps({"categories": names, "images": images, "annotations": notes}))


def write_deeplesion(folder: Path) -> None:
    """One key slice a patient, of three types."""
    rows = [DL_HEADER]
    for number in range(1, PATIENTS + 1):
        file = folder / "Images_png" / f"{number:06d}_01_01" / "050.png"
        file.parent.mkdir(parents=True)
        Image.fromarray((_hu(number) + 32768).astype(np.uint16)).save(file)
        rows.append(
            f'{number:06d}_01_01_050.png,{number},1,1,50,"1, 1, 1, 1, 1, 1, 1, 1","4, 4, 12, 10","6.0, 3.5",'
            f'"0.4, 0.2, 0.4",{ {1: 1, 2: 4}.get(number, 5) },0,"40, 60","0.8, 0.8, 5",'
            f'"{SIZE_XY[0]}, {SIZE_XY[1]}","-175, 275",F,61,{number % 3 + 1}'
        )
    (folder / "DL_info.csv").write_text("\n".join(rows) + "\n")
