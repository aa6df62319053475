"""Operating points: what a score lets through, and how they come into a run folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungct.cli import evaluate as verb
from lungct.errors import InputError, OutputExists, UsageError
from lungct.evaluation.froc import Tally
from lungct.evaluation.operating import brought_through, operating_points
from lungct.io.calibration import Calibration, read_calibration, write_calibration
from lungct.io.manifest import sha256_of
from lungct.io.operating_points import OperatingPoints, read_operating_points, write_operating_points

TRUTH = "seriesuid,coordX,coordY,coordZ,diameter_mm\na,0,0,0,8\nb,0,0,0,8\n"
MARKS = """seriesuid,coordX,coordY,coordZ,probability
a,1,0,0,.9
c,90,0,0,.8
b,0,1,0,.7
a,90,0,0,.6
b,90,0,0,.6
d,90,0,0,.5
"""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Two nodules on four scans, and a run folder with something in the weights' place."""
    for name, text in (("truth", TRUTH), ("marks", MARKS), ("scans", "a\nb\nc\nd\n")):
        (tmp_path / f"{name}.csv").write_text(text)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/model.safetensors").write_bytes(b"weights")
    return {
        "truth": tmp_path / "truth.csv",
        "detections": tmp_path / "marks.csv",
        "scans": tmp_path / "scans.csv",
        "out": tmp_path / "out",
        "store_into": tmp_path / "run",
    }


def some_tally(found: list[float], false: list[float], images: int) -> Tally:
    places = [np.zeros(len(one), dtype=np.int64) for one in (found, false, found)]
    return Tally(np.asarray(found), places[0], np.asarray(false), places[1], places[2], images)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), levels=st.sampled_from([3, 20, 10_000]))
def test_no_score_lets_more_through_than_its_rate_and_none_lower_would_do(seed: int, levels: int) -> None:
    random = np.random.default_rng(seed)
    found, false = (random.integers(0, levels, random.integers(least, 40)) / levels for least in (1, 0))
    images = int(random.integers(1, 30))
    every = np.unique(np.r_[found, false])
    for point in operating_points(some_tally(found.tolist(), false.tolist(), images)):
        let_through = (false >= point.score).sum() / images
        assert let_through <= point.fp_per_unit * (1 + 1e-9)
        assert point.sensitivity == pytest.approx((found >= point.score).mean())
        lower = every[every < point.score]
        if len(lower):
            assert (false >= lower[-1]).sum() / images > point.fp_per_unit
        assert point.reached == (len(false) / images >= point.fp_per_unit)


def test_stored_and_read_by_rate(files: dict[str, Any]) -> None:
    verb.run(**files, bootstrap=0)
    points = read_operating_points(files["store_into"] / "operating_points.json")
    assert (points.unit, points.calibration) == ("scan", "")
    assert points.at(0.125).score == pytest.approx(0.85), "one false mark on four scans is .25"
    assert points.at(0.25).score == points.at(0.5).score == pytest.approx(0.65), "below it two come at once"
    assert [points.at(rate).score for rate in (0.8, 1, 8, 100)] == pytest.approx([0.55, 0.5, 0.5, 0.5])
    assert (points.at(1).reached, points.at(2).reached) == (True, False)
    assert points.at(0.25).sensitivity == 1
    assert points.measured_on["scans"] == 4
    assert points.measured_on["hit"] == "radius"
    assert len(points.measured_on["model_sha256"]) == 64
    with pytest.raises(InputError, match=r"no operating point at 0\.01 .* per scan: the least is 0\.0625"):
        points.at(0.01)


def test_scores_of_the_points_have_gone_through_the_map(files: dict[str, Any]) -> None:
    verb.run(**files, bootstrap=0, recalibrate="isotonic")
    run = files["store_into"]
    points, fitted = read_operating_points(run / "operating_points.json"), read_calibration(run / "calibration.json")
    assert points.calibration == "isotonic"
    assert (run / "calibration.json").read_bytes() == (files["out"] / "calibration.json").read_bytes()
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.6, 0.5])
    assert (fitted.apply(scores) >= points.at(1).score).sum() == 6
    assert (fitted.apply(scores) >= points.at(0.25).score).tolist() == [True, True, True, False, False, False]
    files["store_into"] = run
    with pytest.raises(OutputExists, match=r"calibration.json exists: add --overwrite"):
        verb.run(**{**files, "out": files["out"].parent / "again"}, bootstrap=0, recalibrate="isotonic")


def test_a_map_that_lies_by_is_not_taken_for_one_that_the_scores_went_through(
    files: dict[str, Any], caplog: Any
) -> None:
    write_calibration(files["store_into"] / "calibration.json", Calibration("temperature", 2.0))
    verb.run(**files, bootstrap=0)
    points = read_operating_points(files["store_into"] / "operating_points.json")
    assert (points.calibration, points.at(0.125).score) == ("", pytest.approx(0.85))
    assert "calibration.json: not used" in caplog.text


def test_a_stored_map_is_replaced_only_when_asked(files: dict[str, Any], tmp_path: Path) -> None:
    own, other = files["store_into"] / "calibration.json", tmp_path / "other.json"
    write_calibration(own, Calibration("temperature", 2.0))
    write_calibration(other, Calibration("temperature", 3.0))
    with pytest.raises(OutputExists, match=r"calibration.json exists: add --overwrite"):
        verb.run(**files, bootstrap=0, calibration=other)
    verb.run(**files, bootstrap=0, calibration=own)
    verb.run(**files, bootstrap=0, calibration=other, overwrite=True)
    assert read_calibration(own).temperature == 3


def test_a_map_that_makes_scores_equal_keeps_to_the_rate() -> None:
    raw = some_tally([0.9, 0.5], [0.8, 0.7, 0.6], images=2)
    flat = Calibration("isotonic", scores=(0.0, 0.55, 0.85, 1.0), probabilities=(0.0, 0.4, 0.4, 1.0))
    mapped = brought_through(raw, flat)
    point = next(one for one in operating_points(mapped) if one.fp_per_unit == 1)
    assert (mapped.false_score >= point.score).sum() == 0, "the three have one score now, and are too many"
    assert point.sensitivity == 0.5


def test_points_of_slices_name_their_split(tmp_path: Path, files: dict[str, Any], caplog: Any) -> None:
    images = [
        {"id": k, "file_name": "", "width": 64, "height": 64, "lungct": {"split": "test", "patient_id": f"p{k}"}}
        for k in (1, 2)
    ]
    boxes = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 9, 9]}]
    truth = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "nodule"}]}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps([boxes[0] | {"score": 0.4}]))
    verb.run(
        tmp_path / "truth.json", tmp_path / "found.json", files["out"], store_into=files["store_into"], bootstrap=0
    )
    points = read_operating_points(files["store_into"] / "operating_points.json")
    assert (points.unit, points.measured_on["split"]) == ("slice", "test")
    assert points.measured_on["hit"] == "IoU 0.1 or centre inside"
    assert points.at(1).score == 0.4


def test_refused_before_any_work(files: dict[str, Any], tmp_path: Path) -> None:
    verb.run(**files, bootstrap=0)
    again = {**files, "out": tmp_path / "again"}
    with pytest.raises(OutputExists, match=r"operating_points.json exists: add --overwrite"):
        verb.run(**again, bootstrap=0)
    verb.run(**again, bootstrap=0, overwrite=True)
    with pytest.raises(UsageError, match="a model carries one map"):
        verb.run(**again, overwrite=True, recalibrate="isotonic", calibration=tmp_path / "any.json")
    with pytest.raises(InputError, match=r"no model.safetensors in it"):
        verb.run(**{**again, "store_into": tmp_path / "nowhere"}, overwrite=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "other/1"}, "expected lungct.operating-points/1 per scan or slice"),
        ({"unit": "patient"}, "per scan or slice"),
        ({"points": []}, "in no order"),
        ({"points": [{"fp_per_unit": 1, "score": 0.2}]}, "no operating points"),
        ({"points": [{"fp_per_unit": 1, "score": float("nan"), "sensitivity": 1}]}, "not finite"),
        ({"points": [{"fp_per_unit": f, "score": f, "sensitivity": 1} for f in (0.2, 0.3)]}, "in no order"),
    ],
)
def test_bad_file(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = tmp_path / "points.json"
    written = OperatingPoints("scan", operating_points(some_tally([0.9], [0.8], 2)), "", {"scans": 2})
    write_operating_points(path, written)
    assert read_operating_points(path) == written
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message):
        read_operating_points(path)
    path.unlink()
    with pytest.raises(InputError, match="--store-into writes it"):
        read_operating_points(path)


def test_points_remember_how_the_marks_were_found(files: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "nodules"
    folder.mkdir()
    (folder / "nodules.csv").write_text(MARKS)
    made = {
        "model_sha256": sha256_of(files["store_into"] / "model.safetensors"),
        "nodule_score": "fused",
        "tta": "flip",
        "join": {"overlap": 0, "gap_mm": 5.0},
        "scoring": {"shown_by": None},
    }
    refused = {
        "found by another model than that of": {**made, "model_sha256": "0" * 64},
        "calibrated scores": {**made, "scoring": {"shown_by": {"method": "temperature"}}},
    }
    for said, options in {"": made, **refused}.items():
        record = {"schema": "lungct.run/1", "command": "predict", "version": "0", "options": options}
        (folder / "manifest.ndjson").write_text(json.dumps(record) + "\n")
        if options is made:
            verb.run(**{**files, "detections": folder}, bootstrap=0)
            measured_on = read_operating_points(files["store_into"] / "operating_points.json").measured_on
            assert (measured_on["tta"], measured_on["nodule_score"]) == ("flip", "fused")
            assert measured_on["join"] == made["join"]
            continue
        for dry_run in (True, False):
            with pytest.raises(InputError, match=said):
                verb.run(**{**files, "detections": folder}, bootstrap=0, overwrite=True, dry_run=dry_run)
