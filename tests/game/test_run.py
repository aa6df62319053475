"""The game on files: maps of ours and of others, controls, false positives, failures."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from lungct import registry
from lungct.cli import segmentation_game as verb
from lungct.errors import InputError, OutputExists, UsageError
from lungct.game.options import GameOptions
from lungct.game.run import plan, segmentation_game
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth, write_truth
from lungct.io.manifest import write_manifest
from lungct.io.npz import write_slice

SHAPE = (40, 50)
QUICK = GameOptions(bootstrap=50, names=("adaptive", "pointing", "fixed"))
ALL = GameOptions(bootstrap=50)


quick_game = partial(segmentation_game, figures=False)


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    """Seven images of seven patients, a nodule each; the first holds two."""
    random = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(1, 8):
        write_slice(tmp_path / f"{number}.npz", random.normal(-800, 50, (3, *SHAPE)).astype(np.int16))
        images.append(CocoImage(number, f"{number}.npz", SHAPE[1], SHAPE[0], {"patient_id": f"p{number}"}))
        annotations.append(CocoAnnotation(number, number, 1, box_of(number)))
    annotations.append(CocoAnnotation(99, 1, 1, (2.0, 30.0, 10.0, 38.0)))
    write_truth(tmp_path / "test.json", CocoTruth({1: "nodule"}, images, annotations))
    return tmp_path / "test.json"


def box_of(number: int) -> tuple[float, float, float, float]:
    return (10.0 + number, 8.0, 18.0 + number, 16.0)


def write_maps(folder: Path, method: str, number: int, maps: np.ndarray, boxes: list[tuple[float, ...]]) -> None:
    """As another tool writes them: the least that is asked for."""
    (folder / method).mkdir(parents=True, exist_ok=True)
    np.savez(folder / method / f"{number}.npz", heatmaps=maps, boxes_xyxy_px=np.array(boxes, np.float32))


def blob(center_xy: tuple[float, float], sigma: float = 5.0) -> np.ndarray:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    return np.exp(-((x - center_xy[0]) ** 2 + (y - center_xy[1]) ** 2) / (2 * sigma**2)).astype(np.float16)


@pytest.fixture
def heatmaps(tmp_path: Path) -> Path:
    """A good method and one that looks away; image 1 also has its second nodule and a false positive."""
    folder = tmp_path / "heatmaps"
    for number in range(1, 8):
        x1, y1, x2, y2 = box_of(number)
        boxes: list[tuple[float, ...]] = [box_of(number)]
        good, away = [blob(((x1 + x2) / 2 + 1, (y1 + y2) / 2))], [blob((45, 35))]
        if number == 1:
            boxes += [(2, 30, 10, 38), (40, 2, 46, 8)]
            good += [blob((6, 34)), blob((43, 5))]
            away += [blob((45, 35)), blob((45, 35))]
        write_maps(folder, "good", number, np.stack(good), boxes)
        write_maps(folder, "away", number, np.stack(away), boxes)
    return folder


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "scores.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def line(summary: dict[str, object], method: str, rule: str) -> dict[str, object]:
    lines = summary["rows"]
    assert isinstance(lines, list)
    return next(row for row in lines if (row["method"], row["rule"]) == (method, rule))


def test_the_whole_game(heatmaps: Path, slices: Path, tmp_path: Path) -> None:
    summary = segmentation_game(heatmaps, slices, tmp_path / "game", ALL)
    names = {"scores.csv", "summary.json", "table.md", "table.tex", "manifest.ndjson", "maps.png"}
    names |= {f"{stem}.{kind}" for stem in ("game", "boxes", "critical_difference") for kind in ("png", "svg")}
    assert {path.name for path in (tmp_path / "game").iterdir()} == names
    assert json.loads((tmp_path / "game" / "summary.json").read_text()) == summary
    assert (summary["patients"], summary["detections"], summary["false_positives"]) == (7, 8, 1)
    assert {row["method"] for row in summary["rows"]} == {"good", "away", *registry.CONTROLS, registry.UPPER_BOUND}
    assert {row["rule"] for row in summary["rows"]} == {*registry.UNASKED_RULES, *registry.MAP_MEASURES}
    for rule in set(registry.PUBLISHED_RULES) | {"auprc", "pointing", "proximity"}:
        good, away = (line(summary, name, rule)["normalised"] for name in ("good", "away"))
        assert good > 0.6 > 0 > away  # type: ignore[operator]
        assert line(summary, "constant", rule)["normalised"] == pytest.approx(0, abs=1e-6)
        assert line(summary, "gaussian", rule)["normalised"] >= good  # type: ignore[operator]
        test = next(one for one in summary["tests"] if (one["rule"], one["a"], one["b"]) == (rule, "away", "good"))
        assert test["p"] == pytest.approx(2 / 2**7)
        assert test["p_holm"] >= test["p"]
    assert "Gaussian" in summary["note"]
    assert "under 6" not in summary["note"]


def test_maps_without_labels_are_of_the_only_category(heatmaps: Path, slices: Path, tmp_path: Path) -> None:
    document = json.loads(slices.read_text())
    document["categories"][0]["id"] = 4
    for row in document["annotations"]:
        row["category_id"] = 4
    slices.write_text(json.dumps(document))
    assert quick_game(heatmaps, slices, tmp_path / "game", QUICK)["detections"] == 8
    document["categories"].append({"id": 5, "name": "mass"})
    slices.write_text(json.dumps(document))
    with pytest.raises(InputError, match="2 categories"):
        quick_game(heatmaps, slices, tmp_path / "several", QUICK)


def test_false_positives_are_scored_on_their_own_box_and_not_averaged(
    heatmaps: Path, slices: Path, tmp_path: Path
) -> None:
    summary = quick_game(heatmaps, slices, tmp_path / "game", QUICK)
    false = [row for row in rows_of(tmp_path / "game") if row["stratum"] == "FP"]
    assert {(row["method"], row["image_id"], row["detection"]) for row in false} == {
        ("good", "1", "2"),
        ("away", "1", "2"),
    }
    assert all(row["annotation_id"] == "-1" and row["status"] == "ok" for row in false)
    own = {row["method"]: float(row["normalised"]) for row in false if row["rule"] == "adaptive"}
    assert own["good"] > 0.6 > 0.05 > own["away"]  # the box that it drew itself
    assert line(summary, "good", "fixed")["n"] == 8


def test_every_true_box_of_an_image_is_scored_against_its_own(heatmaps: Path, slices: Path, tmp_path: Path) -> None:
    quick_game(heatmaps, slices, tmp_path / "game", QUICK)
    found = {
        row["annotation_id"]: float(row["normalised"])
        for row in rows_of(tmp_path / "game")
        if (row["method"], row["rule"], row["image_id"], row["stratum"]) == ("good", "adaptive", "1", "TP")
    }
    assert set(found) == {"1", "99"}
    assert min(found.values()) > 0.6


def test_failed_maps_are_nan_with_the_reason(heatmaps: Path, slices: Path, tmp_path: Path) -> None:
    write_maps(heatmaps, "good", 2, np.zeros((1, *SHAPE), np.float16), [box_of(2)])
    write_maps(heatmaps, "good", 3, np.full((1, *SHAPE), np.nan, np.float16), [box_of(3)])
    summary = quick_game(heatmaps, slices, tmp_path / "game", QUICK)
    status = {row["image_id"]: row for row in rows_of(tmp_path / "game") if row["method"] == "good"}
    assert (status["2"]["value"], status["2"]["status"]) == ("", "failed: constant map")
    assert (status["3"]["value"], status["3"]["status"]) == ("", "failed: not finite")
    assert (line(summary, "good", "fixed")["n"], line(summary, "good", "fixed")["failed"]) == (6, 2)
    published = quick_game(heatmaps, slices, tmp_path / "thesis", GameOptions(rules="thesis", bootstrap=0))
    assert line(published, "good", "fixed")["n"] == 8
    assert line(published, "good", "fixed")["ci95"] is None


def test_controls_can_be_left_out_and_need_an_image(heatmaps: Path, slices: Path, tmp_path: Path) -> None:
    bare = quick_game(heatmaps, slices, tmp_path / "bare", GameOptions(controls=False, bootstrap=10))
    assert {row["method"] for row in bare["rows"]} == {"good", "away"}
    for path in tmp_path.glob("*.npz"):
        path.unlink()
    blind = quick_game(heatmaps, slices, tmp_path / "blind", QUICK)
    assert "edges" not in {row["method"] for row in blind["rows"]}
    assert "No edges control" in blind["note"]


def test_controls_that_were_made_before_are_not_made_twice(heatmaps: Path, slices: Path, tmp_path: Path) -> None:
    for number in range(1, 8):
        write_maps(heatmaps, "constant", number, np.full((1, *SHAPE), 0.5, np.float16), [box_of(number)])
    summary = quick_game(heatmaps, slices, tmp_path / "game", QUICK)
    assert line(summary, "constant", "fixed")["n"] == 7
    assert line(summary, "constant", "fixed")["failed"] == 0


def test_same_input_same_bytes(heatmaps: Path, slices: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        quick_game(heatmaps, slices, tmp_path / name, QUICK)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_few_patients_are_said_to_be_few(heatmaps: Path, slices: Path, tmp_path: Path) -> None:
    for method in ("good", "away"):
        for number in range(4, 8):
            (heatmaps / method / f"{number}.npz").unlink()
    summary = quick_game(heatmaps, slices, tmp_path / "game", QUICK)
    assert "3 patients: with under 6 no test can reach p < .05" in summary["note"]


def test_maps_of_an_unfinished_run_are_not_read(heatmaps: Path, slices: Path) -> None:
    (heatmaps / "away").rename(heatmaps / ".away.partial")
    assert plan(heatmaps, slices, QUICK)["map_files"] == 7
    (heatmaps / "good").rename(heatmaps / ".good.partial")
    with pytest.raises(InputError, match="no heatmap"):
        plan(heatmaps, slices, QUICK)


def test_nothing_explained_is_a_game_without_rows(slices: Path, tmp_path: Path) -> None:
    (tmp_path / "maps" / "eigencam").mkdir(parents=True)
    (tmp_path / "maps" / "eigencam" / "manifest.ndjson").write_text('{"schema": "lungct.run/1"}\n')
    summary = quick_game(tmp_path / "maps", slices, tmp_path / "game", QUICK)
    assert (summary["rows"], summary["tests"], summary["detections"]) == ([], [], 0)


def test_false_positives_only(slices: Path, tmp_path: Path) -> None:
    write_maps(tmp_path / "maps", "good", 2, np.stack([blob((5, 5))]), [(40, 30, 46, 36)])
    summary = quick_game(tmp_path / "maps", slices, tmp_path / "game", QUICK)
    assert (summary["detections"], summary["false_positives"]) == (0, 1)
    assert line(summary, "good", "fixed")["mean"] is None


def test_what_does_not_fit_is_refused(heatmaps: Path, slices: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no heatmap"):
        quick_game(tmp_path / "nowhere", slices, tmp_path / "game", QUICK)
    write_maps(tmp_path / "small", "good", 2, np.zeros((1, 5, 5), np.float16), [box_of(2)])
    with pytest.raises(InputError, match="5 x 5 pixels, the image 50 x 40"):
        quick_game(tmp_path / "small", slices, tmp_path / "game", QUICK)
    write_maps(tmp_path / "other", "good", 77, np.zeros((1, *SHAPE), np.float16), [box_of(2)])
    with pytest.raises(InputError, match="'77'"):
        quick_game(tmp_path / "other", slices, tmp_path / "game", QUICK)
    write_maps(heatmaps / "again", "good", 2, np.stack([blob((5, 5))]), [box_of(2)])
    with pytest.raises(InputError, match="too"):
        quick_game(heatmaps, slices, tmp_path / "game", QUICK)
    assert not (tmp_path / "game").exists()


def test_output_is_not_replaced_unasked(heatmaps: Path, slices: Path, tmp_path: Path) -> None:
    (tmp_path / "game").mkdir()
    write_manifest(tmp_path / "game", "segmentation-game", {})
    with pytest.raises(OutputExists):
        quick_game(heatmaps, slices, tmp_path / "game", QUICK)
    quick_game(heatmaps, slices, tmp_path / "game", QUICK, overwrite=True)
    assert (tmp_path / "game" / "scores.csv").is_file()
    assert plan(heatmaps, slices, QUICK)["map_files"] == 14


def test_shards_and_resumed_runs_give_the_same_table(heatmaps: Path, slices: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    quick_game(heatmaps, slices, whole, QUICK)
    shards = [tmp_path / f"shard{number}" for number in range(3)]
    for number, folder in enumerate(shards):
        quick_game(heatmaps, slices, folder, replace(QUICK, shard=(number, 3)))
    quick_game(heatmaps, slices, tmp_path / "joined", QUICK, join=shards)
    staging = tmp_path / ".resumed.partial"
    (staging / "parts").mkdir(parents=True)
    for path in (shards[1] / "parts").iterdir():  # as a killed run leaves it
        (staging / "parts" / path.name).write_bytes(path.read_bytes())
    quick_game(heatmaps, slices, tmp_path / "resumed", QUICK, resume=True)
    for name in ("joined", "resumed"):
        assert {path.name for path in (tmp_path / name).iterdir()} == {path.name for path in whole.iterdir()}
        for path in whole.iterdir():
            assert (tmp_path / name / path.name).read_bytes() == path.read_bytes(), (name, path.name)


def test_shards_of_another_game_are_refused(heatmaps: Path, slices: Path, tmp_path: Path) -> None:
    quick_game(heatmaps, slices, tmp_path / "shard", replace(QUICK, seed=1, shard=(0, 2)))
    with pytest.raises(InputError, match="seed differs"):
        quick_game(heatmaps, slices, tmp_path / "game", QUICK, join=[tmp_path / "shard"])
    with pytest.raises(InputError, match="no parts"):
        quick_game(heatmaps, slices, tmp_path / "game", QUICK, join=[heatmaps])


def test_shards_of_other_maps_of_the_same_size_are_refused(heatmaps: Path, slices: Path, tmp_path: Path) -> None:
    path = next(iter(sorted(heatmaps.rglob("*.npz"))))
    with np.load(path) as arrays:
        known = dict(arrays)
    np.savez(path, **known)  # as other tools write them, without compression
    quick_game(heatmaps, slices, tmp_path / "shard", replace(QUICK, shard=(0, 2)), overwrite=True)
    np.savez(path, **{**known, "heatmaps": known["heatmaps"][:, ::-1]})
    with pytest.raises(InputError, match="maps_digest differs"):
        quick_game(heatmaps, slices, tmp_path / "game", QUICK, join=[tmp_path / "shard"])


def test_missed_nodules_and_false_positives_are_strata(heatmaps: Path, slices: Path, tmp_path: Path) -> None:
    """The map of image 3 is of a nodule that the detector missed; its provenance says so."""
    folder = heatmaps / "good"
    arrays = dict(np.load(folder / "3.npz"))
    np.savez(folder / "3.npz", **arrays, provenance=np.array(json.dumps({"kinds": ["FN"]})))
    summary = quick_game(heatmaps, slices, tmp_path / "game", QUICK)
    levels = {
        row["level"]: (row["n"], row["normalised"])
        for row in summary["strata"]
        if (row["attribute"], row["method"], row["rule"]) == ("stratum", "good", "adaptive")
    }
    assert {level: n for level, (n, _) in levels.items()} == {"TP": 7, "FP": 1, "FN": 1}
    assert min(normalised for _, normalised in levels.values()) > 0.6
    assert line(summary, "good", "adaptive")["n"] == 7
    assert (summary["detector"]["found"], summary["detector"]["missed_with_a_map"]) == (8, 1)


def test_strata_by_diameter_and_malignancy(heatmaps: Path, slices: Path, tmp_path: Path) -> None:
    document = json.loads(slices.read_text())
    for place, row in enumerate(document["annotations"]):
        row["attributes"] = {"diameter_mm": 5.0 + 2 * place, "malignancy": place % 2, "nodule_id": f"n{place}"}
    slices.write_text(json.dumps(document))
    summary = quick_game(heatmaps, slices, tmp_path / "game", QUICK)
    found = {(row["attribute"], row["level"]): row["n"] for row in summary["strata"] if row["rule"] == "adaptive"}
    assert found["diameter_mm", "4 to 6"] == 1
    assert found["diameter_mm", "8 to 15"] == 3
    assert found["malignancy", "0"] == 4
    assert rows_of(tmp_path / "game")[0]["nodule_id"] == "n0"
    assert "by diameter in mm" in (tmp_path / "game" / "table.md").read_text()


def test_options_that_would_do_nothing_are_refused(heatmaps: Path, slices: Path, tmp_path: Path) -> None:
    for given in ({"measure": ["deletion"]}, {"masks": tmp_path}):
        with pytest.raises(UsageError, match=r"--faithfulness|--shape mask"):
            verb.run(heatmaps, slices, tmp_path / "game", **given)
