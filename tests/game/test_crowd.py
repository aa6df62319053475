"""Crowd regions are no nodule of the game: neither aimed at, nor found, nor missed, nor held against a map."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from lungct import registry
from lungct.game.options import GameOptions
from lungct.game.rules.base import load_rules
from lungct.game.run import plan, segmentation_game
from lungct.game.saliency import Saliency
from lungct.game.target import Target, pixels_of
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth, write_truth

SHAPE = (40, 50)
NODULE, CROWD = (4.0, 4.0, 12.0, 12.0), (25.0, 10.0, 45.0, 35.0)
game = partial(segmentation_game, figures=False)
RULES = load_rules((*registry.UNASKED_RULES, *registry.MAP_MEASURES))


def target(ignored: np.ndarray | None = None) -> Target:
    box = np.array(NODULE)
    return Target(SHAPE, box, box[None], spacing_mm_xy=(0.7, 0.7), ignored=ignored)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_what_lies_in_a_crowd_changes_no_score(name: str, dtype: type) -> None:
    ignored = pixels_of(SHAPE, np.array(CROWD))
    to = target(ignored)
    calm = np.random.default_rng(0).random(SHAPE).astype(dtype)
    glaring = np.where(ignored, calm + 3, calm).astype(dtype)
    scores = [RULES[name](Saliency(one, counted=to.counted), to) for one in (calm, glaring)]
    np.testing.assert_equal(vars(scores[0]), vars(scores[1]))
    assert to.pixels == SHAPE[0] * SHAPE[1] - 20 * 25


def test_a_nodule_in_a_crowd_is_still_one() -> None:
    to = target(pixels_of(SHAPE, np.array((0.0, 0.0, 50.0, 40.0))))
    assert to.pixels == to.area == 64


@pytest.mark.parametrize("name", ["fixed", "adaptive", "energy", "auprc", "pointing", "inverse-distance", "proximity"])
def test_chance_is_met_beside_a_crowd(name: str) -> None:
    """Random maps on what is left of the image, within 3 standard errors."""
    to = target(pixels_of(SHAPE, np.array(CROWD)))
    random = np.random.default_rng(1)
    scores = [RULES[name](Saliency(random.random(SHAPE), counted=to.counted), to) for _ in range(300)]
    values = np.array([one.value for one in scores])
    assert abs(values.mean() - scores[0].chance) <= 3 * values.std(ddof=1) / np.sqrt(300)


def write_world(folder: Path, crowd: CocoAnnotation | None) -> None:
    images = [CocoImage(1, "1.npz", SHAPE[1], SHAPE[0], {"patient_id": "p"})]
    annotations = [CocoAnnotation(8, 1, 1, NODULE)] if crowd is None else [crowd, CocoAnnotation(8, 1, 1, NODULE)]
    write_truth(folder / "truth.json", CocoTruth({1: "nodule"}, images, annotations))


@pytest.mark.parametrize("as_mask", [False, True])
def test_a_detection_on_a_crowd_counts_neither_way(tmp_path: Path, as_mask: bool) -> None:
    """The region by its box or by its run lengths; the third detection is far from everything."""
    runs = coco_mask.encode(np.asfortranarray(pixels_of(SHAPE, np.array(CROWD)).astype(np.uint8)))
    segmentation = {"counts": runs["counts"].decode(), "size": list(SHAPE)} if as_mask else ()
    write_world(tmp_path, CocoAnnotation(7, 1, 1, CROWD, iscrowd=1, segmentation=segmentation))
    (tmp_path / "maps" / "cam").mkdir(parents=True)
    maps = np.random.default_rng(0).random((3, *SHAPE))
    boxes = np.array([NODULE, (28, 14, 36, 22), (14, 25, 20, 31)])
    np.savez(tmp_path / "maps" / "cam" / "1.npz", heatmaps=maps, boxes_xyxy_px=boxes)
    options = GameOptions(bootstrap=0, controls=False)
    assert plan(tmp_path / "maps", tmp_path / "truth.json", options)["true_boxes"] == 1
    summary = game(tmp_path / "maps", tmp_path / "truth.json", tmp_path / "game", options)
    assert (summary["detections"], summary["false_positives"]) == (1, 1)
    assert summary["detector"]["true_boxes"] == summary["detector"]["found"] == 1
    elsewhere = next(row for row in summary["rows"] if row["rule"] == "energy-elsewhere")
    assert (elsewhere["n"], elsewhere["not_defined"]) == (0, 1)  # a crowd is no other nodule


def test_pictures_are_numbered_as_the_file_has_its_boxes(tmp_path: Path) -> None:
    """The first annotation is a crowd: a map of it is left out, that of the second is the nodule's."""
    write_world(tmp_path, CocoAnnotation(7, 1, 1, CROWD, iscrowd=1))
    (tmp_path / "maps" / "cam").mkdir(parents=True)
    for number, box in enumerate((CROWD, NODULE)):
        picture = pixels_of(SHAPE, np.array(box)).astype(np.uint8) * 255
        Image.fromarray(picture).save(tmp_path / "maps" / "cam" / f"1_{number}.png")
    options = GameOptions(bootstrap=0, controls=False, names=("adaptive", "energy"))
    summary = game(tmp_path / "maps", tmp_path / "truth.json", tmp_path / "game", options)
    assert summary["detections"] == 1
    assert [row["normalised"] for row in summary["rows"]] == [1.0, 1.0]


def test_pictures_of_an_image_without_detections_are_of_nothing(tmp_path: Path) -> None:
    """They are maps of the detections that are given, and there are none; the true boxes do not stand in for them."""
    write_world(tmp_path, None)
    (tmp_path / "maps" / "cam").mkdir(parents=True)
    Image.fromarray(np.zeros(SHAPE, np.uint8)).save(tmp_path / "maps" / "cam" / "1.png")
    (tmp_path / "found.json").write_text("[]")
    options = GameOptions(bootstrap=0, detections=tmp_path / "found.json")
    assert game(tmp_path / "maps", tmp_path / "truth.json", tmp_path / "game", options)["rows"] == []
