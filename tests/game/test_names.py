"""Names of maps and masks that could be of two images, affines that are not the scan's, and what the note then says."""

from __future__ import annotations

import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lungct.errors import InputError
from lungct.game.maps import map_files
from lungct.game.note import note_of
from lungct.game.options import GameOptions
from lungct.game.run import segmentation_game
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth, write_truth
from lungct.io.nifti import write_nifti
from lungct.types import Grid, Volume

SHAPE = (30, 36)
BOX = (4.0, 4.0, 10.0, 9.0)
QUICK = GameOptions(bootstrap=0, names=("adaptive", "energy"), controls=False)
game = partial(segmentation_game, figures=False)


def truth_of(folder: Path, **facts: Any) -> CocoTruth:
    """Ids 1 to 4 whose pictures are called 0 to 3, each with a nodule."""
    images = [
        CocoImage(n, f"images/{n - 1}.png", SHAPE[1], SHAPE[0], {key: value(n) for key, value in facts.items()})
        for n in range(1, 5)
    ]
    truth = CocoTruth({1: "nodule"}, images, [CocoAnnotation(n, n, 1, BOX) for n in range(1, 5)])
    write_truth(folder / "truth.json", truth)
    return truth


def plane() -> np.ndarray:
    image = np.zeros(SHAPE, np.uint8)
    image[4:9, 4:10], image[0, 0] = 200, 1
    return image


def save(path: Path, **arrays: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        np.savez(path, heatmaps=plane()[None] / np.float32(255), boxes_xyxy_px=np.array([BOX]), **arrays)
    else:
        Image.fromarray(plane()).save(path)


@pytest.mark.parametrize("name", ["1.png", "2_0.png", "3.npz"])
def test_a_name_of_two_images_is_refused(tmp_path: Path, name: str) -> None:
    truth = truth_of(tmp_path)
    save(tmp_path / "maps" / "cam" / name)
    with pytest.raises(InputError, match=r"is the id of image \d and the file name of image \d"):
        map_files(tmp_path / "maps", truth)


def test_what_is_called_by_one_name_alone_is_found(tmp_path: Path) -> None:
    """An id that is no file name, a file name that is no id, and an NPZ that says whose it is."""
    truth = truth_of(tmp_path)
    for name in ("4.png", "0.png"):
        save(tmp_path / "maps" / "cam" / name)
    save(tmp_path / "maps" / "odam" / "2.npz", image_id=np.array(2))
    assert {key: [one.method for one in mine] for key, mine in map_files(tmp_path / "maps", truth).items()} == {
        1: ["cam"],
        2: ["odam"],
        4: ["cam"],
    }


@pytest.mark.parametrize("suffix", ["png", "npz"])
def test_own_names_are_a_way_out(tmp_path: Path, suffix: str) -> None:
    truth = truth_of(tmp_path, image_id="slice {}".format)
    save(tmp_path / "maps" / "cam" / f"slice 2.{suffix}")
    assert list(map_files(tmp_path / "maps", truth)) == [2]


def test_a_box_of_one_image_or_the_whole_of_another(tmp_path: Path) -> None:
    truth = truth_of(tmp_path, image_id=lambda n: "4_0" if n == 1 else f"own{n}")
    save(tmp_path / "maps" / "cam" / "4_0.png")
    with pytest.raises(InputError, match="may be of image 1, or of box 0 of image 4"):
        map_files(tmp_path / "maps", truth)


def test_masks_are_named_as_maps_are(tmp_path: Path) -> None:
    truth_of(tmp_path, image_id="own{}".format)
    save(tmp_path / "maps" / "cam" / "own2.png")
    masked = GameOptions(**{**QUICK.__dict__, "shape": "mask", "masks": tmp_path / "masks"})
    save(tmp_path / "masks" / "2.png")
    with pytest.raises(InputError, match="2 is the id of image 2 and the file name of image 3"):
        game(tmp_path / "maps", tmp_path / "truth.json", tmp_path / "game", masked)
    (tmp_path / "masks" / "2.png").rename(tmp_path / "masks" / "own2.png")
    assert game(tmp_path / "maps", tmp_path / "truth.json", tmp_path / "game", masked)["detections"] == 1


def test_a_refusal_shows_a_name_that_would_do(tmp_path: Path) -> None:
    truth = truth_of(tmp_path)
    save(tmp_path / "maps" / "cam" / "nobody.npz")
    with pytest.raises(InputError, match=r"does not hold.*a name that would do: 4"):
        map_files(tmp_path / "maps", truth)


def test_a_volume_that_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    truth_of(tmp_path, case_id=lambda n: "scan", z_index=lambda n: n - 1, z_mm=lambda n: -200.0 + n)
    (tmp_path / "maps" / "cam").mkdir(parents=True)
    stack, path = np.stack([plane()] * 4).astype(np.int16), tmp_path / "maps" / "cam" / "scan.nii.gz"
    write_nifti(path, Volume(stack, Grid(stack.shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))))
    with pytest.raises(InputError, match=r"plane 0 lies at z 0.0 mm, image 1 at -199.0 mm"):
        game(tmp_path / "maps", tmp_path / "truth.json", tmp_path / "game", QUICK)
    write_nifti(path, Volume(stack, Grid(stack.shape, (1.0, 1.0, 1.0), (0.0, 0.0, -199.0))))
    assert game(tmp_path / "maps", tmp_path / "truth.json", tmp_path / "game", QUICK)["detections"] == 4


def test_maps_of_true_boxes_tell_nothing_of_a_detector(tmp_path: Path) -> None:
    truth_of(tmp_path)
    save(tmp_path / "maps" / "cam" / "4.png")
    summary = game(tmp_path / "maps", tmp_path / "truth.json", tmp_path / "game", QUICK)
    assert summary["detector"]["found"] is None
    assert "nothing of a detector's errors" in summary["note"]
    assert "it found" not in summary["note"]
    assert "3 of the truth's 4 images and 3 of its 4 true boxes have no map" in summary["note"]
    save(tmp_path / "maps" / "odam" / "4.npz", scores=np.array([0.7]))
    summary = game(tmp_path / "maps", tmp_path / "truth.json", tmp_path / "two", QUICK)
    assert "it found 1 of 1 true boxes and drew 0 false ones" in summary["note"]


def test_values_outside_0_to_1_are_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    truth_of(tmp_path)
    folder = tmp_path / "maps" / "cam"
    folder.mkdir(parents=True)
    for number in (1, 2):
        wide = plane()[None] * np.float32(1.275) - 1
        np.savez(folder / f"{number}.npz", heatmaps=wide, boxes_xyxy_px=np.array([BOX]), image_id=np.array(number))
    with caplog.at_level(logging.WARNING, "lungct"):
        game(tmp_path / "maps", tmp_path / "truth.json", tmp_path / "game", QUICK)
    said = [record.getMessage() for record in caplog.records if "expected 0 to 1" in record.getMessage()]
    assert len(said) == 1
    assert "maps from -1 to 254, expected 0 to 1" in said[0]


@pytest.mark.parametrize(
    ("p_holm", "a", "difference", "words"),
    [
        (0.2, "odam", 0.1, "no better than a map that only knows the box, as far as the tests can tell"),
        (0.01, "odam", 0.1, "better than a map that only knows the box in 1 of 1 rules"),
        (0.01, "gaussian", -0.1, "better than a map that only knows the box in 1 of 1 rules"),
        (0.01, "gaussian", 0.1, "no better than"),
    ],
)
def test_better_is_said_of_what_the_tests_hold(
    tmp_path: Path, p_holm: float, a: str, difference: float, words: str
) -> None:
    truth_of(tmp_path)
    save(tmp_path / "maps" / "cam" / "4.png")
    game(tmp_path / "maps", tmp_path / "truth.json", tmp_path / "game", QUICK)
    summary = json.loads((tmp_path / "game" / "summary.json").read_text())
    lines = {
        name: {"method": name, "rule": "pointing", "normalised": v} for name, v in (("odam", 0.9), ("gaussian", 0.8))
    }
    b = "odam" if a == "gaussian" else "gaussian"
    test = {"rule": "pointing", "a": a, "b": b, "difference": difference, "p_holm": p_holm}
    note = note_of({**summary, "rows": list(lines.values()), "tests": [test]}, ())
    assert f"odam finds the nodule {words}" in note
