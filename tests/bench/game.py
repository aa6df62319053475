"""What the whole game costs on 200 detections x 8 methods, maps given, without faithfulness: run it.

The maps are smooth random blobs on slices of 512 x 512 px, float16 as lungct explain writes them; every rule, control,
statistic, table and figure is on. Prints CPU-seconds and wall-clock seconds, and the share of the 60 s on 2 cores. An
argument plays fewer detections, for a busy machine: scores cost in proportion, statistics and figures once.
"""
# ruff: noqa: T201

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

DETECTIONS, METHODS, SIDE = 200, 8, 512


def write(folder: Path, detections: int) -> None:
    """Slices, truth and maps of so many patients with one detection each."""
    from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth, write_truth
    from lungct.io.npz import write_heatmaps, write_slice
    from lungct.types import Heatmaps

    random = np.random.default_rng(0)
    rows, columns = np.arange(SIDE)[:, None] + 0.5, np.arange(SIDE)[None] + 0.5
    images, annotations = [], []
    for number in range(1, detections + 1):
        write_slice(folder / f"{number}.npz", random.normal(-800, 50, (3, SIDE, SIDE)).astype(np.int16))
        facts = {"patient_id": f"p{number}", "spacing_mm": [0.7, 0.7]}
        images.append(CocoImage(number, f"{number}.npz", SIDE, SIDE, facts))
        side, (x, y) = random.uniform(5, 42), random.uniform(60, 450, 2)
        box = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
        annotations.append(CocoAnnotation(number, number, 1, box))
        for method in range(METHODS):
            off, width = random.normal(0, 0.1 + method * side / 8, 2), side * (0.5 + method / 4)
            blob = np.exp(-((columns - x - off[0]) ** 2 + (rows - y - off[1]) ** 2) / (2 * width**2))
            wave = 0.5 + 0.5 * np.sin(columns / 17 + number) * np.sin(rows / 23)
            heatmap = (0.8 * blob + 0.2 * wave)[None].astype(np.float16)
            maps = Heatmaps(
                number,
                f"method{method}",
                heatmap,
                heatmap[:, ::8, ::8].astype(np.float32),
                np.array([box], np.float32),
                np.ones(1, np.float32),
                np.ones(1, np.int64),
                np.full(1, number, np.int64),
                "P2",
            )
            (folder / "heatmaps" / maps.method).mkdir(parents=True, exist_ok=True)
            write_heatmaps(folder / "heatmaps" / maps.method / f"{number}.npz", maps)
    write_truth(folder / "truth.json", CocoTruth({1: "nodule"}, images, annotations))


def main() -> None:
    """Make the maps, play, tell."""
    from lungct.game.options import GameOptions
    from lungct.game.run import segmentation_game

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, int(sys.argv[1]) if len(sys.argv) > 1 else DETECTIONS)
        start, cpu = time.perf_counter(), time.process_time()
        summary = segmentation_game(folder / "heatmaps", folder / "truth.json", folder / "game", GameOptions())
        wall, used = time.perf_counter() - start, time.process_time() - cpu
        rules = len({row["rule"] for row in summary["rows"]})
        methods = len({row["method"] for row in summary["rows"]})
    print(f"{summary['detections']} detections, {methods} maps each (controls counted), {rules} rules")
    print(f"{used:.1f} CPU-s, {wall:.1f} s on the clock; of 60 s: {wall / 60:.0%} wall, {used / 60:.0%} CPU")
    sys.exit(wall > 60)


if __name__ == "__main__":
    main()
