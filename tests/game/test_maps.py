"""Maps and masks of other tools: NPZ, PNG and NIfTI, boxes from the truth or from detections."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from lungct.errors import InputError, UsageError
from lungct.game.maps import map_files, read_maps
from lungct.game.options import GameOptions
from lungct.game.run import segmentation_game
from lungct.game.saliency import Saliency
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth, read_truth, write_detections, write_truth
from lungct.io.coco_masks import mask_of, unpacked
from lungct.io.nifti import write_nifti
from lungct.types import Detections, Grid, Volume

SHAPE = (30, 36)
QUICK = GameOptions(bootstrap=0, names=("adaptive", "energy"), controls=False)
game = partial(segmentation_game, figures=False)
BOXES = ((4.0, 4.0, 10.0, 9.0), (20.0, 15.0, 28.0, 25.0))


@pytest.fixture
def truth(tmp_path: Path) -> CocoTruth:
    """Two planes of one scan with a nodule each, the second plane with another."""
    images = [
        CocoImage(n, f"images/s{n}.npz", SHAPE[1], SHAPE[0], {"case_id": "scan", "patient_id": f"p{n}", "z_index": n})
        for n in (0, 1)
    ]
    polygon = [[4, 4, 10, 4, 10, 9, 4, 9]]
    annotations = [
        CocoAnnotation(1, 0, 1, BOXES[0], segmentation=polygon),
        CocoAnnotation(2, 1, 1, BOXES[0], segmentation=polygon),
        CocoAnnotation(3, 1, 1, BOXES[1], segmentation=[[20, 15, 28, 15, 20, 25]]),
    ]
    write_truth(tmp_path / "truth.json", CocoTruth({1: "nodule"}, images, annotations))
    return read_truth(tmp_path / "truth.json")


def plane(box: tuple[float, ...]) -> np.ndarray:
    image = np.zeros(SHAPE, np.uint8)
    x1, y1, x2, y2 = map(int, box)
    image[y1:y2, x1:x2] = 200
    image[0, 0] = 1
    return image


def test_pictures_are_of_the_true_boxes(truth: CocoTruth, tmp_path: Path) -> None:
    folder = tmp_path / "maps" / "cam"
    folder.mkdir(parents=True)
    Image.fromarray(plane(BOXES[0])).save(folder / "0.png")
    for number, box in enumerate(BOXES):
        Image.fromarray(plane(box).astype(np.uint16) * 200).save(folder / f"s1_{number}.png")
    files = map_files(tmp_path / "maps", truth)
    assert {key: [one.method for one in mine] for key, mine in files.items()} == {0: ["cam"], 1: ["cam"]}
    maps = read_maps(files[1][0], truth, truth.images[1])
    assert maps.heatmaps.shape == (2, *SHAPE)
    assert maps.heatmaps[1].max() == 40000
    summary = game(tmp_path / "maps", tmp_path / "truth.json", tmp_path / "game", QUICK)
    assert summary["detections"] == 3
    assert all(row["normalised"] > 0.95 for row in summary["rows"])


def test_pictures_can_be_of_detections(truth: CocoTruth, tmp_path: Path) -> None:
    folder = tmp_path / "maps" / "cam"
    folder.mkdir(parents=True)
    Image.fromarray(plane(BOXES[1])).save(folder / "1_0.png")
    found = Detections(1, np.array([[20, 15, 28, 26], [1, 1, 5, 5]]), np.array([0.9, 0.4]), np.array([1, 1]))
    write_detections(tmp_path / "found.json", [found])
    options = GameOptions(**{**QUICK.__dict__, "detections": tmp_path / "found.json"})
    summary = game(tmp_path / "maps", tmp_path / "truth.json", tmp_path / "game", options)
    assert (summary["detections"], summary["false_positives"], summary["detector"]["missed"]) == (1, 0, 1)
    Image.fromarray(plane(BOXES[1])).save(folder / "1_7.png")
    with pytest.raises(InputError, match="box 7"):
        game(tmp_path / "maps", tmp_path / "truth.json", tmp_path / "again", options)


def test_a_volume_is_turned_to_the_slices(truth: CocoTruth, tmp_path: Path) -> None:
    """Written in RAS, as every NIfTI of ours; planes come back as the slices lie."""
    volume = np.stack([plane(BOXES[0]), plane(BOXES[1])]).astype(np.int16)
    (tmp_path / "maps" / "cam").mkdir(parents=True)
    grid = Grid(volume.shape, (1.0, 0.7, 0.7), (0.0, 0.0, 0.0))
    write_nifti(tmp_path / "maps" / "cam" / "scan.nii.gz", Volume(volume, grid))
    files = map_files(tmp_path / "maps", truth)
    for number in (0, 1):
        maps = read_maps(files[number][0], truth, truth.images[number])
        np.testing.assert_array_equal(maps.heatmaps[0], volume[number])


def test_masks_of_coco_and_of_files_agree(truth: CocoTruth, tmp_path: Path) -> None:
    (tmp_path / "maps" / "cam").mkdir(parents=True)
    Image.fromarray(plane(BOXES[1])).save(tmp_path / "maps" / "cam" / "1.png")
    own = GameOptions(**{**QUICK.__dict__, "shape": "mask"})
    of_coco = game(tmp_path / "maps", tmp_path / "truth.json", tmp_path / "a", own)
    whole = np.zeros(SHAPE, np.uint8)
    for annotation in truth.annotations_of[1]:
        mask = mask_of(annotation.segmentation, SHAPE)
        assert mask is not None
        whole[mask] = 1
    (tmp_path / "masks").mkdir()
    Image.fromarray(whole).save(tmp_path / "masks" / "1.png")
    filed = GameOptions(**{**own.__dict__, "masks": tmp_path / "masks"})
    of_files = game(tmp_path / "maps", tmp_path / "truth.json", tmp_path / "b", filed)
    assert of_coco["rows"] == of_files["rows"]
    boxed = game(tmp_path / "maps", tmp_path / "truth.json", tmp_path / "c", QUICK)
    assert boxed["rows"] != of_coco["rows"]
    (tmp_path / "masks" / "1.png").unlink()
    with pytest.raises(InputError, match="no mask of image 1"):
        game(tmp_path / "maps", tmp_path / "truth.json", tmp_path / "d", filed)


def test_run_lengths_are_cocos() -> None:
    mask = np.random.default_rng(0).random((13, 17)) > 0.6
    packed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    found = mask_of({"counts": packed["counts"].decode(), "size": [13, 17]}, (13, 17))
    np.testing.assert_array_equal(found, mask)
    np.testing.assert_array_equal(mask_of({"counts": unpacked(packed["counts"])}, (13, 17)), mask)
    with pytest.raises(ValueError, match="221"):
        mask_of({"counts": [3, 4]}, (13, 17))
    assert mask_of([], (13, 17)) is None


def test_pictures_beside_an_npz_are_its_overlays(truth: CocoTruth, tmp_path: Path) -> None:
    folder = tmp_path / "maps" / "cam"
    folder.mkdir(parents=True)
    np.savez(folder / "0.npz", heatmaps=plane(BOXES[0])[None] / 255, boxes_xyxy_px=np.array([BOXES[0]]))
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(folder / "0_0.png")
    files = map_files(tmp_path / "maps", truth)
    assert list(files) == [0]
    assert len(files[0]) == 1


def test_a_map_of_all_boxes_and_one_of_the_first_are_one_too_many(truth: CocoTruth, tmp_path: Path) -> None:
    (tmp_path / "maps" / "cam").mkdir(parents=True)
    for name in ("1.png", "1_0.png"):
        Image.fromarray(plane(BOXES[0])).save(tmp_path / "maps" / "cam" / name)
    with pytest.raises(InputError, match="all boxes"):
        game(tmp_path / "maps", tmp_path / "truth.json", tmp_path / "game", QUICK)


def test_negative_values_and_minus_zero_are_ranked(tmp_path: Path) -> None:
    """Half floats are counted, other ones sorted: the same levels."""
    random = np.random.default_rng(0)
    heatmap = np.round(random.normal(0, 3, SHAPE), 1).astype(np.float16)
    heatmap[0, :3] = (-0.0, 0.0, -0.0)
    half, single = Saliency(heatmap), Saliency(heatmap.astype(np.float32))
    np.testing.assert_array_equal(half.values, single.values)
    np.testing.assert_array_equal(half.level, single.level)
    np.testing.assert_array_equal(half.sizes, single.sizes)
    np.testing.assert_array_equal(half.brightest, single.brightest)
    heatmap[3, 3] = np.nan
    assert half.finite
    assert not Saliency(heatmap).finite
    assert not Saliency(heatmap.astype(np.float64)).finite


def test_what_is_no_map_is_refused(truth: CocoTruth, tmp_path: Path) -> None:
    folder = tmp_path / "maps" / "cam"
    folder.mkdir(parents=True)
    Image.fromarray(np.zeros((*SHAPE, 3), np.uint8)).save(folder / "0.png")
    with pytest.raises(InputError, match="RGB"):
        game(tmp_path / "maps", tmp_path / "truth.json", tmp_path / "game", QUICK)
    (folder / "0.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="picture"):
        game(tmp_path / "maps", tmp_path / "truth.json", tmp_path / "game", QUICK)


def test_the_threshold_is_tuned_on_another_split(truth: CocoTruth, tmp_path: Path) -> None:
    """Maps of 200 in the box and 100 in a ring around it: any threshold from .5 to 1 parts them."""
    folder = tmp_path / "maps" / "cam"
    folder.mkdir(parents=True)
    for number in (0, 1):
        image = np.zeros(SHAPE, np.uint8)
        image[2:11, 2:12], image[4:9, 4:10] = 100, 200
        Image.fromarray(image).save(folder / f"{number}.png")
    validated = GameOptions(bootstrap=0, controls=False, names=("iou-validated", "iou-oracle"))
    with pytest.raises(UsageError, match="another split"):
        game(tmp_path / "maps", tmp_path / "truth.json", tmp_path / "game", validated)
    options = GameOptions(**{**validated.__dict__, "validation": (tmp_path / "maps", tmp_path / "truth.json")})
    summary = game(tmp_path / "maps", tmp_path / "truth.json", tmp_path / "game", options)
    assert 0.5 < summary["thresholds"]["cam"] <= 1
    lines = {row["rule"]: row["mean"] for row in summary["rows"]}
    assert lines["iou-validated"] == pytest.approx((1 + 1 / 2) / 2)  # the second image's other nodule gets none
    assert lines["iou-validated"] <= lines["iou-oracle"]
    assert json.loads((tmp_path / "game" / "summary.json").read_text())["thresholds"] == summary["thresholds"]
