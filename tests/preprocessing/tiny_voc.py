"""A tiny folder of 2D slices with PASCAL-VOC boxes, two to a series, and classes that not every series has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

NOTE = (
    "<annotation><object><name>{label}</name><bndbox><xmin>{x}</xmin><ymin>4</ymin><xmax>{x}7</xmax><ymax>11</ymax>"
    "</bndbox></object></annotation>"
)


def write_voc(folder: Path, *, series: int = 5) -> None:
    """Images of noise; ``solid`` is on the first series only."""
    random = np.random.default_rng(0)
    for name in ("images", "annotations"):
        (folder / name).mkdir(parents=True)
    rows = ["image,seriesuid"]
    for number in range(2 * series):
        stem = f"{number:04d}"
        Image.fromarray(random.integers(0, 256, (16, 24), dtype=np.uint8)).save(folder / "images" / f"{stem}.png")
        label = "solid" if number < 2 else "subsolid"
        (folder / "annotations" / f"{stem}.xml").write_text(NOTE.format(label=label, x=1 + number % 2))
        rows.append(f"{stem}.png,1.2.3.4.5.{number // 2}")
    (folder / "slices.csv").write_text("\n".join(rows) + "\n")
