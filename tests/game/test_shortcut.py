"""A detector that learned a planted shortcut is caught.

Every slice holds a disc, and only those with a bright marker in the corner count as positive: the discs look alike, so
the marker alone tells a nodule. The detector still draws its boxes around discs, and every score of place would praise
a map of the disc. What gives it away is the detector's own score: it falls where the marker is taken away, and the maps
that ask the score (occlusion) point at the corner, while the controls do not.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lungct.explain.base import MethodOptions
from lungct.explain.options import ExplainOptions
from lungct.explain.run import explain
from lungct.game.faithfulness.options import FaithOptions
from lungct.game.options import GameOptions
from lungct.game.run import segmentation_game
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth, read_truth, write_truth
from lungct.io.manifest import write_manifest
from lungct.io.npz import read_heatmaps, write_slice
from lungct.training.options import Execution, preset_options
from lungct.training.train import train

SIZE = 64
MARKER = (2.0, 2.0, 12.0, 12.0)
game = partial(segmentation_game, figures=False)


def write_slices(folder: Path, *, counts: dict[str, int], seed: int = 0) -> None:
    """Slices with a disc each; every other one has the marker, and only there is the disc annotated."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    number = 0
    for split, count in counts.items():
        images, annotations = [], []
        for index in range(count):
            number += 1
            name = f"images/{split}/{index:04d}.npz"
            facts = {"patient_id": f"P{number}", "case_id": f"P{number}", "spacing_mm": [0.7, 0.7, 1.25]}
            images.append(CocoImage(number, name, SIZE, SIZE, facts))
            image_hu = random.normal(-850, 40, (3, SIZE, SIZE))
            radius = random.uniform(4, 6)
            x, y = random.uniform(22, 46, 2)
            image_hu[:, (columns - x) ** 2 + (rows - y) ** 2 < radius**2] = 0
            if index % 2 == 0:
                x1, y1, x2, y2 = map(int, MARKER)
                image_hu[:, y1:y2, x1:x2] = 450
                box = (x - radius, y - radius, x + radius, y + radius)
                annotations.append(CocoAnnotation(len(annotations) + 1, number, 1, box))
            write_slice(folder / name, image_hu.clip(-1000, 500).astype(np.int16))
        write_truth(folder / f"{split}.json", CocoTruth({1: "nodule"}, images, annotations))
    write_manifest(folder, "select-slices", {})


def mark_the_marker(folder: Path) -> None:
    """The truth of the game: beside each nodule the marker, as another thing that a map may point at."""
    truth = read_truth(folder / "test.json")
    markers = [CocoAnnotation(1000 + one.id, one.image_id, 2, MARKER) for one in truth.annotations]
    both = CocoTruth({1: "nodule", 2: "marker"}, truth.images, [*truth.annotations, *markers])
    write_truth(folder / "marked.json", both)


def write_marker_maps(world: Path) -> None:
    """What somebody who suspects the marker enters: a map of it, for the same detections."""
    (world / "heatmaps" / "marker").mkdir()
    for path in (world / "heatmaps" / "occlusion").glob("*.npz"):
        maps = read_heatmaps(path)
        heatmaps = np.zeros_like(maps.heatmaps)
        x1, y1, x2, y2 = map(int, MARKER)
        heatmaps[:, y1:y2, x1:x2] = 1
        arrays = {"boxes_xyxy_px": maps.boxes_xyxy_px, "scores": maps.scores, "labels": maps.labels}
        np.savez(world / "heatmaps" / "marker" / path.name, heatmaps=heatmaps, **arrays)


@pytest.mark.slow
def test_a_planted_shortcut_is_caught(tmp_path: Path) -> None:
    write_slices(tmp_path / "slices", counts={"train": 96, "val": 24, "test": 24})
    given: dict[str, Any] = {"width": 0.35, "fpn_channels": 32, "head_units": 64, "crop_px": 0, "augment": "none"}
    options = preset_options("tiny", {**given, "epochs": 15, "batch": 8, "lr": 2e-3, "validate_every": 5})
    done = train(tmp_path / "slices", tmp_path / "run", options, execution=Execution(device="cpu", threads=1))
    assert done.best["val_ap50"] > 0.7  # it tells discs with the marker from discs without it
    check_that_it_is_caught(tmp_path)


def check_that_it_is_caught(tmp_path: Path) -> None:
    """Explain the detector in ``run/`` on ``slices/test.json``, play, and look where the answers point."""
    explained = ExplainOptions(
        methods=("occlusion", "odam"), top=1, score_threshold=0.3, method=MethodOptions(patch_mm=7.0)
    )
    explain(tmp_path / "run", tmp_path / "slices" / "test.json", tmp_path / "heatmaps", explained)
    mark_the_marker(tmp_path / "slices")
    write_marker_maps(tmp_path)
    faith = FaithOptions(tmp_path / "run", ("deletion", "insertion", "insertion-deletion", "road"), steps=20)
    played = GameOptions(bootstrap=500, faithfulness=faith)
    summary = game(tmp_path / "heatmaps", tmp_path / "slices" / "marked.json", tmp_path / "game", played)
    mean = {(row["method"], row["rule"]): row["mean"] for row in summary["rows"]}
    chance = {(row["method"], row["rule"]): row["chance"] for row in summary["rows"]}

    # The game: occlusion lights the marker many times as much as chance; noise does by chance, the Gaussian never.
    there = {name: mean[name, "energy-elsewhere"] for name in ("occlusion", "uniform", "constant", "gaussian")}
    assert there["occlusion"] > 3 * chance["occlusion", "energy-elsewhere"]
    assert there["uniform"] == pytest.approx(chance["uniform", "energy-elsewhere"], rel=0.2)
    assert there["constant"] == pytest.approx(chance["constant", "energy-elsewhere"], rel=0.01)
    assert there["gaussian"] < 0.2 * chance["gaussian", "energy-elsewhere"]
    # Place alone praises the Gaussian, which knows nothing of the shortcut, and cannot tell it from a good map.
    assert mean["gaussian", "relevance-rank"] > max(0.6, mean["occlusion", "relevance-rank"])
    assert mean["marker", "energy"] == 0

    # Faithfulness: without the marker the score falls, with as many pixels taken anywhere else it does not.
    assert mean["marker", "road"] < 0.75 * mean["uniform", "road"]
    assert mean["marker", "deletion"] < mean["uniform", "deletion"] - 0.1
    assert mean["marker", "insertion-deletion"] > mean["uniform", "insertion-deletion"] + 0.1
    # Edges light the marker's outline, too, as they light everything; the score does not follow them.
    assert mean["edges", "road"] > 0.9 * mean["uniform", "road"]
