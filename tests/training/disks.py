"""Slices with bright disks in noise: small enough to learn in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth, write_truth
from lungct.io.manifest import write_manifest
from lungct.io.npz import write_slice


def write_disks(folder: Path, *, train: int, val: int, size: int = 96, channels: int = 3, seed: int = 0) -> None:
    """A slices folder; every third slice holds no disk."""
    random = np.random.default_rng(seed)
    number = 0
    for split, count in (("train", train), ("val", val)):
        images, annotations = [], []
        for index in range(count):
            number += 1
            name = f"images/{split}/{index:04d}.npz"
            facts = {"patient_id": f"P{number}", "case_id": f"P{number}", "spacing_mm": [0.7, 0.7, 1.25]}
            images.append(CocoImage(number, name, size, size, facts))
            image_hu = random.normal(-850, 40, (channels, size, size))
            for _ in range(0 if index % 3 == 2 else 1):
                radius = random.uniform(4, 9)
                x, y = random.uniform(radius, size - radius, 2)
                rows, columns = np.mgrid[:size, :size] + 0.5
                image_hu[:, (columns - x) ** 2 + (rows - y) ** 2 < radius**2] = 0
                box = (x - radius, y - radius, x + radius, y + radius)
                annotations.append(CocoAnnotation(len(annotations) + 1, number, 1, box))
            write_slice(folder / name, image_hu.clip(-1000, 500).astype(np.int16))
        write_truth(folder / f"{split}.json", CocoTruth({1: "nodule"}, images, annotations))
    write_manifest(folder, "select-slices", {})
