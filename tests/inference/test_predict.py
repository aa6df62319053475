"""Prediction end to end with a small untrained detector, and scans in any orientation brought to its grid."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lungct.cli import predict as verb
from lungct.errors import InputError, OutputExists, UsageError
from lungct.inference.found_csv import COLUMNS
from lungct.inference.link import link
from lungct.inference.model_grid import at_model_grid
from lungct.inference.scan_view import Grids
from lungct.inference.scans import ScanSearch
from lungct.inference.searched import Searched
from lungct.io.calibration import Calibration, write_calibration
from lungct.io.checkpoint import save_tensors
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth, read_detections, write_truth
from lungct.io.nifti import write_nifti
from lungct.io.npz import write_slice
from lungct.io.operating_points import OperatingPoint, OperatingPoints, write_operating_points
from lungct.models.card import ModelCard
from lungct.models.detector import build_detector
from lungct.preprocessing.merge import merge
from lungct.types import Detections, Grid, Volume
from tests.ct.chest import draw_chest

SPACING_XYZ = (1.0, 1.0, 1.5)
CARD = ModelCard(
    detector="faster-rcnn",
    backbone="mobilenet-v2",
    width=0.25,
    norm="batch",
    fpn_channels=16,
    strides=(4, 8, 16),
    anchor_sizes_px=((6.0,), (12.0,), (24.0,)),
    in_channels=3,
    hu_window=(-1000, 500),
    magnify=1.0,
    categories={1: "nodule"},
    head_units=16,
    input_mean=(0.0,) * 3,
    input_std=(1.0,) * 3,
    spacing_mm=SPACING_XYZ,
    hu_clip=(-1000, 500),
)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run")
    card = dataclasses.replace(CARD, max_detections=5)  # an untrained one finds as many as it may
    save_tensors(folder / "model.safetensors", build_detector(card).state_dict(), card.to_json())
    return folder


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    images = []
    for place in range(3):
        name = f"images/a/{place:04d}.npz"
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_slice(tmp_path / name, random.integers(-1000, 500, (3, 48, 64)).astype(np.int16))
        images.append(CocoImage(place + 1, name, 64, 48, {"spacing_mm": list(SPACING_XYZ), "hu_clip": [-1000, 500]}))
    truth = CocoTruth({1: "nodule"}, images, [CocoAnnotation(1, 1, 1, (5, 5, 12, 12))])
    write_truth(tmp_path / "test.json", truth)
    return tmp_path / "test.json"


def test_slices_to_coco_results(run_folder: Path, slices: Path, tmp_path: Path) -> None:
    from lungct.io.coco import read_truth

    out = tmp_path / "detections.json"
    result = verb.run(run_folder, slices, out, device="cpu", score_threshold=0.0)
    found = read_detections(out, read_truth(slices))
    assert result.output == out
    assert result.data == {"images": 3, "detections": sum(map(len, found))}
    assert result.data["detections"] > 0
    again = verb.run(run_folder, slices, tmp_path / "again.json", device="cpu", score_threshold=0.0)
    assert again.output is not None
    assert again.output.read_bytes() == out.read_bytes()


def test_score_threshold(run_folder: Path, slices: Path, tmp_path: Path) -> None:
    assert (
        verb.run(run_folder, slices, tmp_path / "none.json", device="cpu", score_threshold=1.0).data["detections"] == 0
    )
    assert json.loads((tmp_path / "none.json").read_text()) == []


def test_a_folder_of_scans(run_folder: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    (tmp_path / "scans").mkdir()
    for name, depth in (("a", 5), ("b", 4)):
        grid = Grid((depth, 40, 48), (1.5, 1.0, 1.0), (0.0, 0.0, 0.0))
        hu = random.integers(-1000, 500, grid.shape_zyx).astype(np.int16)
        write_nifti(tmp_path / "scans" / f"{name}.nii.gz", Volume(hu, grid))
    out = tmp_path / "nodules"
    result = verb.run(run_folder, tmp_path / "scans", out, keep_ids=True, device="cpu", score_threshold=0.0, batch=2)
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    pictures = {
        f"{kind}/{name}" for kind, end in (("labels", "nii.gz"), ("sheets", "png")) for name in (f"a.{end}", f"b.{end}")
    }
    assert files == {"detections.json", "nodules.csv", "manifest.ndjson"} | pictures
    rows = json.loads((out / "detections.json").read_text())
    assert {row["image_id"] for row in rows} == {f"a/{z:04d}" for z in range(5)} | {f"b/{z:04d}" for z in range(4)}
    nodules = rows_of(out / "nodules.csv")
    assert set(nodules[0]) == set(COLUMNS)
    assert result.data == {"images": 9, "detections": len(rows), "scans": 2, "nodules": len(nodules)}
    records = [json.loads(line) for line in (out / "manifest.ndjson").read_text().splitlines()]
    assert [record.get("case_id") for record in records] == [None, "a", "b"]
    assert str(tmp_path) not in (out / "manifest.ndjson").read_text()


def test_a_body_elsewhere_in_the_air_is_found_there(run_folder: Path, tmp_path: Path) -> None:
    """Only the body's window is searched; what is found must lie where the body lies in the scan."""
    body = np.random.default_rng(2).integers(-400, 500, (4, 64, 64)).astype(np.int16)
    (tmp_path / "scans").mkdir()
    for name, y, x in (("a", 20, 20), ("b", 52, 84)):
        hu = np.full((4, 160, 192), -1000, np.int16)
        hu[:, y : y + 64, x : x + 64] = body
        write_nifti(tmp_path / "scans" / f"{name}.nii.gz", Volume(hu, Grid(hu.shape, (1.5, 1.0, 1.0), (0.0, 0.0, 0.0))))
    verb.run(run_folder, tmp_path / "scans", tmp_path / "out", keep_ids=True, device="cpu", score_threshold=0.0)
    rows = json.loads((tmp_path / "out" / "detections.json").read_text())
    boxes = {name: [row["bbox"] for row in rows if row["image_id"].startswith(name)] for name in "ab"}
    assert len(boxes["a"]) > 4
    np.testing.assert_allclose(boxes["b"], np.add(boxes["a"], (64, 32, 0, 0)), atol=0.01)


def test_lungs_are_searched_where_they_lie_and_slices_without_them_are_not(run_folder: Path, tmp_path: Path) -> None:
    drawn = draw_chest((3.0, 2.0, 2.0))
    chest = drawn.volume
    (tmp_path / "scans").mkdir()
    for name, dy, dx in (("a", 0, 0), ("b", 32, 64)):  # the same chest elsewhere in a wider image of air
        hu = np.full((chest.hu.shape[0] + 10, 200, 260), -1000, np.int16)
        hu[10:, 20 + dy : 20 + dy + chest.hu.shape[1], 20 + dx : 20 + dx + chest.hu.shape[2]] = chest.hu
        write_nifti(tmp_path / "scans" / f"{name}.nii.gz", Volume(hu, Grid(hu.shape, (3.0, 2.0, 2.0), (0.0, 0.0, 0.0))))
    model = tmp_path / "model.safetensors"
    card = dataclasses.replace(CARD, max_detections=5, spacing_mm=(2.0, 2.0, 3.0))
    torch.manual_seed(0)
    save_tensors(model, build_detector(card).state_dict(), card.to_json())
    look = {"keep_ids": True, "device": "cpu", "score_threshold": 0.0}
    rows, records = {}, {}
    for within in ("lungs", "body", "slice"):
        verb.run(model, tmp_path / "scans", tmp_path / within, within=within, **look)  # type: ignore[arg-type]
        rows[within] = json.loads((tmp_path / within / "detections.json").read_text())
        lines = (tmp_path / within / "manifest.ndjson").read_text().splitlines()
        records[within] = [one for one in map(json.loads, lines) if "case_id" in one]
        assert {one["within"] for one in records[within]} == {within}
    boxes = {name: [row["bbox"] for row in rows["lungs"] if row["image_id"].startswith(name)] for name in "ab"}
    assert len(boxes["a"]) > 20
    np.testing.assert_allclose(boxes["b"], np.add(boxes["a"], (64, 32, 0, 0)), atol=0.01)
    depth = records["body"][0]["slices"]
    assert [records[within][0]["looked_at"] for within in ("body", "slice")] == [depth, depth]
    slices = {row["image_id"] for row in rows["lungs"] if row["image_id"].startswith("a")}
    assert slices == {f"a/{z:04d}" for z in range(int(min(slices)[2:]), int(max(slices)[2:]) + 1)}
    lungs = 10 + np.flatnonzero(drawn.lungs.any(axis=(1, 2)))  # the mask is of every slice, the margin 10 mm
    assert abs(int(min(slices)[2:]) - (lungs[0] - 3)) <= 1
    assert abs(int(max(slices)[2:]) - (lungs[-1] + 3)) <= 1
    assert records["lungs"][0]["looked_at"] == len(slices)


def test_the_whole_slice_is_searched_where_it_is_asked_for() -> None:
    stack = np.full((3, 160, 192), -1000, np.int16)
    stack[:, 40:100, 40:100] = 40
    volume = Grid((1, 160, 192), (1.5, 1.0, 1.0), (0.0, 0.0, 0.0))
    body, whole = (
        ScanSearch._window(0, stack, Grids(volume, volume, volume, Searched.every(1), within))
        for within in ("body", "slice")
    )
    assert whole == (slice(0, 160), slice(0, 192))
    assert body[0].stop < 160


def test_where_no_lungs_are_found_the_body_is_searched(
    run_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_scans(tmp_path / "scans", 4)
    verb.run(run_folder, tmp_path / "scans", tmp_path / "out", keep_ids=True, device="cpu")
    record = json.loads((tmp_path / "out" / "manifest.ndjson").read_text().splitlines()[1])
    assert (record["within"], record["looked_at"]) == ("body", 4)
    assert f"{record['case_id']}: no two lungs" in caplog.text
    caplog.clear()
    verb.run(run_folder, tmp_path / "scans", tmp_path / "asked", keep_ids=True, device="cpu", within="body")
    assert not caplog.text


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path) as stream:
        return list(csv.DictReader(stream))


def same_files(one: Path, other: Path, count: int) -> None:
    names = {path.relative_to(one) for path in one.rglob("*") if path.is_file()}
    assert names == {path.relative_to(other) for path in other.rglob("*") if path.is_file()}
    assert len(names) == count
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def write_scans(folder: Path, *depths: int) -> None:
    folder.mkdir()
    random = np.random.default_rng(1)
    for number, depth in enumerate(depths, 1):
        grid = Grid((depth, 40, 48), (2.0, 1.1, 1.0), (0.0, 0.0, 0.0))
        hu = random.integers(-1000, 500, grid.shape_zyx).astype(np.int16)
        write_nifti(folder / f"case_{number}.nii.gz", Volume(hu, grid))


def test_threads_and_a_resumed_run_change_no_byte(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lungct.inference import ensemble as searching

    write_scans(tmp_path / "scans", 6, 5, 9, 4)
    look = {"device": "cpu", "score_threshold": 0.0, "batch": 3, "sheets": False}
    verb.run(run_folder, tmp_path / "scans", tmp_path / "whole", **look)
    verb.run(run_folder, tmp_path / "scans", tmp_path / "ahead", workers=3, **look)
    same_files(tmp_path / "ahead", tmp_path / "whole", 3 + 4)
    searched, real = [], searching.detect_arrays

    def counted(model: object, images: object, *, ids: list[str], **more: object) -> object:
        if ids[0].startswith("case_3") and not searched.count("stopped"):
            searched.append("stopped")
            raise KeyboardInterrupt
        searched.append(ids[0].split("/")[0])
        return real(model, images, ids=ids, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(searching, "detect_arrays", counted)
    with pytest.raises(KeyboardInterrupt):
        verb.run(run_folder, tmp_path / "scans", tmp_path / "resumed", **look)
    searched[:] = ["stopped"]
    verb.run(run_folder, tmp_path / "scans", tmp_path / "resumed", resume=True, **look)
    assert set(searched) == {"stopped", "case_3", "case_4"}
    same_files(tmp_path / "resumed", tmp_path / "whole", 3 + 4)


def test_no_finished_scan_is_taken_over_with_other_options(run_folder: Path, tmp_path: Path) -> None:
    write_scans(tmp_path / "scans", 4, 3)
    (tmp_path / "scans/case_9.nii.gz").write_bytes(b"no volume")
    with pytest.raises(InputError, match="case_9"):
        verb.run(run_folder, tmp_path / "scans", tmp_path / "out", device="cpu", score_threshold=0.0)
    (tmp_path / "scans/case_9.nii.gz").unlink()
    again = verb.run(run_folder, tmp_path / "scans", tmp_path / "out", device="cpu", score_threshold=1.0, resume=True)
    assert again.data["detections"] == 0


def test_single_slices_are_not_resumed(run_folder: Path, slices: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--resume has no bearing"):
        verb.run(run_folder, slices, tmp_path / "out.json", resume=True)


def test_a_slice_that_cannot_be_read_stops_or_is_left_out(run_folder: Path, slices: Path, tmp_path: Path) -> None:
    (slices.parent / "images/a/0001.npz").write_bytes(b"no slice")
    with pytest.raises(InputError, match=r"0001\.npz"):
        verb.run(run_folder, slices, tmp_path / "out.json", device="cpu")
    for workers in (0, 2):
        look = {"device": "cpu", "score_threshold": 0.0, "keep_going": True, "workers": workers}
        result = verb.run(run_folder, slices, tmp_path / f"{workers}.json", **look)
        assert (result.exit_code, result.data["images"], len(result.failed)) == (5, 2, 1)
        assert {row["image_id"] for row in json.loads((tmp_path / f"{workers}.json").read_text())} == {1, 3}
    assert (tmp_path / "0.json").read_bytes() == (tmp_path / "2.json").read_bytes()


def test_calibrated_scores(run_folder: Path, slices: Path, tmp_path: Path) -> None:
    on_slices = {"device": "cpu", "score_threshold": 0.0}
    look = {**on_slices, "sheets": False}
    shutil.copytree(run_folder, tmp_path / "run")
    with pytest.raises(InputError, match=r"calibration\.json: no such file"):
        verb.run(tmp_path / "run", slices, tmp_path / "out.json", calibrated=True, **on_slices)
    calibration = Calibration("isotonic", scores=(0.0, 1.0), probabilities=(0.5, 1.0))
    write_calibration(tmp_path / "run/calibration.json", calibration)
    verb.run(tmp_path / "run", slices, tmp_path / "raw.json", **on_slices)
    verb.run(tmp_path / "run", slices, tmp_path / "mapped.json", calibrated=True, **on_slices)
    raw, mapped = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("raw", "mapped"))
    assert [one["score"] for one in mapped] == pytest.approx([0.5 + one["score"] / 2 for one in raw], abs=2e-6)
    write_scans(tmp_path / "scans", 4)
    verb.run(tmp_path / "run", tmp_path / "scans", tmp_path / "raw", **look)
    verb.run(tmp_path / "run", tmp_path / "scans", tmp_path / "mapped", calibrated=True, **look)
    raw, mapped = (
        list(csv.DictReader((tmp_path / n / "nodules.csv").read_text().splitlines())) for n in ("raw", "mapped")
    )
    assert [float(one["probability"]) for one in mapped] == pytest.approx(
        [0.5 + float(one["probability"]) / 2 for one in raw], abs=2e-6
    )
    assert [one["coordX"] for one in mapped] == [one["coordX"] for one in raw]


def test_operating_points(run_folder: Path, slices: Path, tmp_path: Path) -> None:
    on_slices = {"device": "cpu", "score_threshold": 0.0}
    look = {**on_slices, "sheets": False}
    shutil.copytree(run_folder, tmp_path / "run")
    path = tmp_path / "run/operating_points.json"
    write_scans(tmp_path / "scans", 4)
    verb.run(tmp_path / "run", tmp_path / "scans", tmp_path / "all", **look)
    scores = sorted((float(one["probability"]) for one in rows_of(tmp_path / "all/nodules.csv")), reverse=True)
    kept = int(np.argmin(np.diff(scores))) + 1
    cut = (scores[kept - 1] + scores[kept]) / 2
    points = (OperatingPoint(0.5, 1.0, 0.1), OperatingPoint(1.0, cut, 0.5), OperatingPoint(8.0, 0.0, 0.9))

    def found(name: str, rate: float, **more: object) -> list[float]:
        verb.run(tmp_path / "run", tmp_path / "scans", tmp_path / name, fp_per_scan=rate, **look, **more)
        return [float(one["probability"]) for one in rows_of(tmp_path / name / "nodules.csv")]

    with pytest.raises(InputError, match="--store-into"):
        found("missing", 1.0)
    write_operating_points(path, OperatingPoints("scan", points))
    assert found("one", 1.0) == found("between", 7.9) == scores[:kept]
    assert found("eight", 8.0) == scores
    with pytest.raises(InputError, match="no operating point"):
        found("less", 0.1)
    # Points in the terms of the model's calibration: the scores that are shown stay the model's own.
    write_calibration(tmp_path / "run/calibration.json", Calibration("isotonic", scores=(0, 1), probabilities=(0.5, 1)))
    mapped = tuple(dataclasses.replace(one, score=0.5 + one.score / 2) for one in points)
    write_operating_points(path, OperatingPoints("scan", mapped, calibration="isotonic"))
    assert found("mapped", 1.0) == scores[:kept]
    assert found("shown", 1.0, calibrated=True) == pytest.approx([0.5 + one / 2 for one in scores[:kept]], abs=2e-6)
    write_operating_points(path, OperatingPoints("scan", mapped, calibration="temperature"))
    with pytest.raises(InputError, match="by temperature"):
        found("other map", 1.0)
    write_operating_points(path, OperatingPoints("scan", points, measured_on={"model_sha256": "0" * 64}))
    with pytest.raises(InputError, match="other weights"):
        found("other model", 1.0)
    with pytest.raises(InputError, match="per scan, and slices are searched"):
        verb.run(tmp_path / "run", slices, tmp_path / "out.json", fp_per_slice=1.0, dry_run=True)
    with pytest.raises(UsageError, match="--fp-per-scan has no bearing"):
        verb.run(tmp_path / "run", slices, tmp_path / "out.json", fp_per_scan=1.0)
    write_operating_points(path, OperatingPoints("slice", points))
    verb.run(tmp_path / "run", slices, tmp_path / "out.json", fp_per_slice=1.0, **on_slices)
    cut_off = json.loads((tmp_path / "out.json").read_text())
    verb.run(tmp_path / "run", slices, tmp_path / "whole.json", **on_slices)
    whole = json.loads((tmp_path / "whole.json").read_text())
    assert cut_off == [one for one in whole if one["score"] >= cut]


def test_the_side_by_a_mask_that_lies_by(run_folder: Path, tmp_path: Path) -> None:
    look = {"device": "cpu", "score_threshold": 0.0, "sheets": False}
    write_scans(tmp_path / "scans", 4)
    verb.run(run_folder, tmp_path / "scans", tmp_path / "bare", **look)
    bare = rows_of(tmp_path / "bare/nodules.csv")
    assert {row["side"] for row in bare} == {""}
    grid = Grid((4, 40, 48), (2.0, 1.1, 1.0), (0.0, 0.0, 0.0))
    between = np.median([float(row["coordX"]) for row in bare])
    mask = np.where(np.arange(48) < between, 1, 2) * np.ones(grid.shape_zyx)
    write_nifti(tmp_path / "scans/lungs/case_1.nii.gz", Volume(mask.astype(np.uint8), grid))
    verb.run(run_folder, tmp_path / "scans", tmp_path / "out", **look)
    clear = [row for row in rows_of(tmp_path / "out/nodules.csv") if abs(float(row["coordX"]) - between) > 1]
    assert {row["side"] for row in clear} == {"right", "left"}
    assert all((float(row["coordX"]) < between) == (row["side"] == "right") for row in clear)


def test_a_scan_smaller_than_a_stride(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    grid = Grid((2, 3, 5), (1.5, 1.0, 1.0), (0.0, 0.0, 0.0))
    write_nifti(tmp_path / "scans/case_1.nii.gz", Volume(np.zeros(grid.shape_zyx, np.int16), grid))
    result = verb.run(run_folder, tmp_path / "scans", tmp_path / "out", device="cpu", score_threshold=0.0)
    assert result.data["images"] == 2
    for row in json.loads((tmp_path / "out/detections.json").read_text()):
        x, y, width, height = row["bbox"]
        assert x >= 0 and y >= 0 and x + width <= 5 and y + height <= 3  # noqa: PT018


@pytest.mark.parametrize("detector", ["faster-rcnn", "retinanet", "fcos"])
def test_a_network_that_answers_nan_does_not_pass_for_one_that_finds_nothing(
    detector: str, slices: Path, tmp_path: Path
) -> None:
    card = dataclasses.replace(CARD, detector=detector)
    weights = build_detector(card).state_dict()
    first = next(name for name in weights if name.startswith("backbone.body"))
    weights[first] = torch.full_like(weights[first], float("nan"))
    save_tensors(tmp_path / "model.safetensors", weights, card.to_json())
    with pytest.raises(InputError, match="not finite numbers"):
        verb.run(tmp_path / "model.safetensors", slices, tmp_path / "out.json", device="cpu")
    assert not (tmp_path / "out.json").exists()


def test_shards_joined_are_the_whole(run_folder: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    (tmp_path / "scans").mkdir()
    for number in range(1, 6):
        grid = Grid((3, 40, 48), (1.5, 1.0, 1.0), (0.0, 0.0, 0.0))
        hu = random.integers(-1000, 500, grid.shape_zyx).astype(np.int16)
        write_nifti(tmp_path / "scans" / f"case_{number}.nii.gz", Volume(hu, grid))
    for name, shard in (("whole", "0/1"), ("p0", "0/3"), ("p1", "1/3"), ("p2", "2/3")):
        look = {"device": "cpu", "score_threshold": 0.0, "batch": 2, "sheets": False}
        verb.run(run_folder, tmp_path / "scans", tmp_path / name, shard=shard, **look)
    parts = [tmp_path / f"p{index}" for index in (1, 2, 0)]
    assert merge(parts, tmp_path / "joined").cases == 5
    assert sum(any(json.loads((one / "detections.json").read_text())) for one in parts) >= 2
    same_files(tmp_path / "joined", tmp_path / "whole", 3 + 5)


def test_single_slices_are_not_shared_out(run_folder: Path, slices: Path, tmp_path: Path) -> None:
    for dry_run in (False, True):
        with pytest.raises(UsageError, match="--shard has no bearing"):
            verb.run(run_folder, slices, tmp_path / "out.json", shard="0/2", dry_run=dry_run)


@pytest.mark.parametrize(
    ("more", "flag"),
    [
        ({"searched": "all"}, "--searched"),
        ({"within": "body"}, "--within"),
        ({"link_overlap": 0.4}, "--link-by, --link-overlap or --gap-mm"),
        ({"join_gap_mm": 4.0}, "--join-overlap or --join-gap-mm"),
        ({"min_extent_mm": 0.0}, "--min-extent-mm"),
        ({"drop_outliers": True}, "--drop-outliers"),
        ({"nodule_score": "mean"}, "--nodule-score"),
        ({"labels": "none"}, "--labels"),
        ({"sheets": False}, "--no-sheets"),
        ({"dicom": True}, "--dicom"),
        ({"lung_mask": "threshold"}, "--lung-mask"),
        ({"keep_ids": True}, "--keep-ids or --key-file"),
    ],
)
def test_single_slices_make_no_nodules(more: dict[str, object], flag: str, run_folder: Path, slices: Path) -> None:
    with pytest.raises(UsageError, match=f"{flag} has no bearing"):
        verb.run(run_folder, slices, dry_run=True, **more)


def test_what_would_do_nothing_is_refused(run_folder: Path, slices: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--fuse-iou does nothing"):
        verb.run(run_folder, slices, dry_run=True, fuse_iou=0.4)
    assert verb.run(run_folder, slices, tmp_path / "a.json", dry_run=True, fuse_iou=0.4, tta="flip").data["images"]
    (tmp_path / "scans").mkdir()
    with pytest.raises(UsageError, match="--join-gap-mm does nothing"):
        verb.run(run_folder, tmp_path / "scans", dry_run=True, join_overlap=0, join_gap_mm=4.0)


def test_a_broken_scan_stops_or_is_left_out(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    grid = Grid((3, 40, 48), (1.5, 1.0, 1.0), (0.0, 0.0, 0.0))
    write_nifti(tmp_path / "scans/a.nii.gz", Volume(np.zeros(grid.shape_zyx, np.int16), grid))
    (tmp_path / "scans/b.nii.gz").write_bytes(b"not a volume")
    with pytest.raises(InputError, match=r"b\.nii\.gz"):
        verb.run(run_folder, tmp_path / "scans", tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()
    result = verb.run(run_folder, tmp_path / "scans", tmp_path / "out", device="cpu", keep_going=True)
    assert result.exit_code == 5
    assert len(result.failed) == 1


def test_refusals(run_folder: Path, slices: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such run folder"):
        verb.run(tmp_path / "nothing", slices, dry_run=True)
    with pytest.raises(InputError, match="no such file or folder"):
        verb.run(run_folder, tmp_path / "nothing.json")
    (tmp_path / "there.json").write_text("[]")
    with pytest.raises(OutputExists, match="--overwrite"):
        verb.run(run_folder, slices, tmp_path / "there.json")
    with pytest.raises(OutputExists, match="is a folder"):
        verb.run(run_folder, slices, tmp_path)
    planned = verb.run(run_folder, slices, tmp_path / "new.json", dry_run=True)
    assert planned.data["images"] == 3
    assert not (tmp_path / "new.json").exists()


def test_the_input_is_never_the_output(run_folder: Path, slices: Path, tmp_path: Path) -> None:
    before = slices.read_bytes()
    (tmp_path / "scans").mkdir()
    for source, out in (
        (slices, tmp_path / "." / slices.name),
        (tmp_path / "scans",) * 2,
        (tmp_path / "scans", tmp_path),
    ):
        with pytest.raises(UsageError, match="the input"):
            verb.run(run_folder, source, out, device="cpu", overwrite=True)
    assert slices.read_bytes() == before


def test_other_spacing_is_refused_unless_overridden(run_folder: Path, slices: Path, tmp_path: Path) -> None:
    document = json.loads(slices.read_text())
    for image in document["images"]:
        image["lungct"]["spacing_mm"] = [0.5, 0.5, 1.5]
    slices.write_text(json.dumps(document))
    with pytest.raises(InputError, match="trained on"):
        verb.run(run_folder, slices, tmp_path / "out.json", device="cpu")
    verb.run(run_folder, slices, tmp_path / "out.json", device="cpu", override=True)


def test_the_way_of_slices_needs_no_volume_library(run_folder: Path, slices: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from lungct.cli import predict as verb; "
        f"run, slices, out = {[str(one) for one in (run_folder, slices, tmp_path / 'o.json')]!r}; "
        "verb.run(Path(run), Path(slices), Path(out), device='cpu'); "
        "print(sorted({'SimpleITK', 'nibabel', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def turned(degrees_z: float, degrees_x: float) -> np.ndarray:
    a, b = np.deg2rad([degrees_z, degrees_x])
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return about_z @ about_x


@pytest.mark.parametrize(
    ("direction", "spacing_zyx"),
    [
        (np.eye(3), (1.5, 1.0, 1.0)),
        (np.diag([-1.0, -1.0, 1.0]), (3.0, 0.7, 0.7)),
        (np.diag([1.0, -1.0, -1.0]), (1.0, 0.8, 0.9)),
        (turned(14, 9), (2.0, 0.9, 0.8)),
        (turned(-12, 7) @ np.diag([-1.0, 1.0, -1.0]), (2.0, 0.9, 0.8)),
        (turned(10, 5)[:, [2, 0, 1]], (0.9, 0.8, 1.6)),
    ],
    ids=["same", "ras", "head-down", "oblique", "oblique-flipped", "sagittal"],
)
def test_centre_in_the_world_whatever_the_orientation(direction: np.ndarray, spacing_zyx: tuple[float, ...]) -> None:
    """A ball painted into the raw scan; its pixels on the model's slices are boxed, linked, and must come back."""
    direction = direction * np.sign(np.linalg.det(direction))
    raw_grid = Grid((40, 56, 60), spacing_zyx, (31.0, -80.0, 412.0), tuple(direction.ravel().tolist()))
    index = np.array([22.0, 30.0, 17.0])
    center, radius_mm = raw_grid.to_world(index), 6.0
    zyx = np.stack(np.meshgrid(*map(np.arange, raw_grid.shape_zyx), indexing="ij"), axis=-1)
    inside = np.linalg.norm(raw_grid.to_world(zyx[..., ::-1]) - center, axis=-1) <= radius_mm
    volume = at_model_grid(Volume(np.where(inside, 100, -900).astype(np.int16), raw_grid), CARD, "ball")
    assert volume.grid.spacing_mm_zyx == pytest.approx(SPACING_XYZ[::-1])
    assert (np.diag(volume.grid.direction_matrix) > 0.9).all()
    marks = {}
    for z in range(len(volume.hu)):
        y, x = np.nonzero(volume.hu[z] > -400)
        if len(x):
            box = np.array([[x.min(), y.min(), x.max() + 1.0, y.max() + 1.0]])
            marks[z] = Detections(z, box, np.array([0.9]), np.array([1]))
    (nodule,) = link(marks, volume.grid)
    off_voxels = volume.grid.to_index(nodule.center_lps_mm) - volume.grid.to_index(tuple(center))
    assert np.abs(off_voxels).max() <= 0.6
    assert nodule.size_mm == pytest.approx([2 * radius_mm] * 3, rel=0.35)


def test_a_scan_on_the_grid_is_not_interpolated() -> None:
    hu = np.random.default_rng(0).integers(-1000, 500, (4, 6, 200)).astype(np.int16)
    grid = Grid((4, 6, 200), (1.5, 1.0, 1.0 - 5e-5), (0.0, 0.0, 0.0))
    assert (at_model_grid(Volume(hu, grid), CARD, "a").hu == hu).all()


def test_a_model_of_unknown_spacing_takes_no_scan() -> None:
    card = dataclasses.replace(CARD, spacing_mm=None)
    volume = Volume(np.zeros((4, 6, 8), np.int16), Grid((4, 6, 8), (1.5, 0.9, 0.9), (0.0, 0.0, 0.0)))
    with pytest.raises(InputError, match="unknown spacing"):
        at_model_grid(volume, card, "a")
    assert at_model_grid(volume, card, "a", True).grid == volume.grid


def test_a_model_of_2d_images_keeps_the_scans_own_slice_distance() -> None:
    card = dataclasses.replace(CARD, spacing_mm=(1.0, 0.5))
    volume = Volume(np.zeros((4, 6, 8), np.int16), Grid((4, 6, 8), (2.5, 2.0, 2.0), (0.0, 0.0, 0.0)))
    grid = at_model_grid(volume, ModelCard.from_json(card.to_json()), "a").grid
    assert (grid.spacing_mm_zyx, grid.shape_zyx) == ((2.5, 0.5, 1.0), (4, 24, 16))


def test_of_a_coarse_scan_the_slices_nearest_to_its_own_are_searched(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    grid = Grid((4, 40, 48), (4.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    hu = np.random.default_rng(1).integers(-1000, 500, grid.shape_zyx).astype(np.int16)
    write_nifti(tmp_path / "scans/case_1.nii.gz", Volume(hu, grid))
    look = {"device": "cpu", "score_threshold": 0.0, "batch": 1, "sheets": False}
    few = verb.run(run_folder, tmp_path / "scans", tmp_path / "own", **look)
    every = verb.run(run_folder, tmp_path / "scans", tmp_path / "all", searched="all", **look)
    assert (few.data["images"], every.data["images"]) == (4, 11)
    rows = [json.loads((tmp_path / name / "detections.json").read_text()) for name in ("own", "all")]
    searched = {f"case_1/{z:04d}" for z in (1, 3, 6, 9)}
    assert {row["image_id"] for row in rows[0]} == searched
    assert rows[0] == [row for row in rows[1] if row["image_id"] in searched]
    records = [json.loads((tmp_path / name / "manifest.ndjson").read_text().splitlines()[1]) for name in ("own", "all")]
    assert (records[0]["searched"], records[0]["slices"]) == ([1, 3, 6, 9], 11)
    assert "searched" not in records[1]


def test_what_spans_too_little_of_a_scan_is_left_out(run_folder: Path, tmp_path: Path) -> None:
    write_scans(tmp_path / "scans", 9)
    look = {"device": "cpu", "score_threshold": 0.0, "sheets": False, "labels": "none"}
    verb.run(run_folder, tmp_path / "scans", tmp_path / "all", min_extent_mm=0, **look)
    verb.run(run_folder, tmp_path / "scans", tmp_path / "few", **look)
    rows, kept = (rows_of(tmp_path / name / "nodules.csv") for name in ("all", "few"))
    depth = json.loads((tmp_path / "all/manifest.ndjson").read_text().splitlines()[1])["slices"]

    def stays(row: dict[str, str]) -> bool:
        first, last = int(row["slice_first"]), int(row["slice_last"])
        return first == 0 or last == depth - 1 or (last - first + 1) * SPACING_XYZ[2] >= 2.5

    assert [row["probability"] for row in kept] == [row["probability"] for row in rows if stays(row)]
    assert 0 < len(kept) < len(rows)


def test_points_of_one_model_looking_once_are_not_taken_for_those_of_several(run_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(run_folder, tmp_path / "run")
    write_scans(tmp_path / "scans", 4)
    path = tmp_path / "run/operating_points.json"
    look = {"fp_per_scan": 1.0, "device": "cpu", "dry_run": True}

    def plan(**more: object) -> None:
        verb.run(tmp_path / "run", tmp_path / "scans", tmp_path / "out", **look, **more)

    points = OperatingPoints("scan", (OperatingPoint(1.0, 0.5, 0.5),))
    write_operating_points(path, points)
    plan()
    for more, word in (
        ({"tta": "flip"}, "another --tta"),
        ({"ensemble": [run_folder]}, "another --ensemble"),
        ({"nodule_score": "fused"}, "another --nodule-score"),
        ({"searched": "all"}, "another --searched"),
        ({"within": "slice"}, "another --within"),
        ({"gap_mm": 4.0}, "another --link-by, --link-overlap or --gap-mm"),
        ({"join_overlap": 0.0}, "another --join-overlap"),
        ({"min_extent_mm": 0.0}, "another --min-extent-mm"),
        ({"drop_outliers": True}, "another --drop-outliers"),
    ):
        with pytest.raises(InputError, match=word):
            plan(**more)
    together = {"tta": "flip", "nodule_score": "fused", "within": "lungs"}
    write_operating_points(path, dataclasses.replace(points, measured_on=together))
    plan(tta="flip", nodule_score="fused")
    with pytest.raises(InputError, match="another --tta"):
        plan(nodule_score="fused")
    older = {"join": {"overlap": 0, "gap_mm": 5}, "min_extent_mm": 0}  # of a version that searched the body
    write_operating_points(path, dataclasses.replace(points, measured_on=older))
    plan(join_overlap=0.0, min_extent_mm=0.0, within="body")
    with pytest.raises(InputError, match="another --within"):
        plan(join_overlap=0.0, min_extent_mm=0.0)
