"""Explaining a whole split: the index, shards that add up, a kill at any moment, images that fail, and what is said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lungct.cli.app import command
from lungct.cli.contract import run_app
from lungct.errors import InputError
from lungct.explain.base import MethodOptions
from lungct.explain.index import complaint
from lungct.explain.options import ExplainOptions
from lungct.explain.provenance import as_text, fingerprint
from lungct.explain.run import explain
from lungct.game.maps import map_files
from lungct.io.coco import read_truth
from lungct.io.json_lines import read_json_lines
from lungct.io.manifest import read_manifest
from lungct.io.npz import read_heatmaps
from lungct.preprocessing.merge import merge
from lungct.preprocessing.shard import Shard
from lungct.report.contact_sheet import SheetRow
from lungct.report.flagged_maps import flagged

from .test_run import bytes_below, given, run


def options(world: Path, *methods: str, **more: object) -> ExplainOptions:
    return ExplainOptions(methods=methods, detections=given(world), device="cpu", **more)  # type: ignore[arg-type]


def test_the_index_has_a_line_per_map_and_a_provenance_that_can_be_checked(world: Path) -> None:
    run(world, options=options(world, "eigencam", channels=True))
    for method in ("eigencam",):
        folder = world / "heatmaps" / method
        rows = read_json_lines(folder / "index.ndjson")
        assert [(row["image_id"], row["detection"]) for row in rows] == [(1, 0), (2, 0), (2, 1)]
        for row in rows:
            maps = read_heatmaps(folder / row["file"])
            assert row["method"] == maps.method == method
            assert row["layer"] == maps.provenance["layers"][row["detection"]]
            np.testing.assert_allclose(row["box_xyxy_px"], maps.boxes_xyxy_px[row["detection"]], atol=1e-3)
            assert row["provenance_sha256"] == fingerprint(maps.provenance)
            with np.load(folder / row["file"]) as stored:
                assert as_text(json.loads(stored["provenance"].item())) == stored["provenance"].item()
            assert (folder / row["overlay"]).is_file()
            assert maps.channel_shapley is not None
            assert row["channel_shapley"] == pytest.approx(maps.channel_shapley[row["detection"]], abs=1e-5)
            told = maps.provenance["channels"]
            brought = told["score_all"][row["detection"]] - told["score_none"][row["detection"]]
            assert sum(row["channel_shapley"]) == pytest.approx(brought, abs=1e-5)
            assert {"model_sha256", "scorer", "level", "baseline", "seed"} <= maps.provenance["settings"].keys()
            assert {"lungct", "torch", "numpy"} <= maps.provenance["versions"].keys()


def test_contact_sheets_gain_a_column_for_a_method_that_is_run_later(world: Path) -> None:
    run(world, options=options(world, "gaussian"))
    sheets = world / "heatmaps" / "contact_sheets"
    assert {path.name for path in sheets.glob("*.png")} == {"p0.png", "p1.png"}
    with Image.open(sheets / "p0.png") as sheet:
        before = sheet.size
    run(world, options=options(world, "edges", "constant"))
    with Image.open(sheets / "p0.png") as sheet:
        assert sheet.size[0] > before[0]
        assert sheet.size[1] == before[1]
    assert read_manifest(sheets)[0]["options"]["methods"] == ["constant", "edges", "gaussian"]
    assert [record["detections"] for record in read_manifest(sheets)[1:]] == [1, 2]


def test_a_contact_sheet_tells_missed_nodules_from_found_ones(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[SheetRow] = []

    def note(path: Path, _: object, rows: list[SheetRow], **__: object) -> None:
        shown.extend(rows)
        path.write_bytes(b"")

    monkeypatch.setattr("lungct.explain.sheets.draw_sheet", note)
    run(world, options=options(world, "gaussian", outcomes=("tp", "fp", "fn")))
    assert sorted(row.lines[1] for row in shown) == [
        "false positive",
        "missed nodule",
        "true positive",
        "true positive",
    ]
    assert [row.detected for row in shown] == [row.lines[1] != "missed nodule" for row in shown]


def test_without_pictures_there_are_none_and_a_resume_draws_them(world: Path) -> None:
    run(world, "bare", options(world, "gaussian", pictures=False))
    assert not list((world / "bare").rglob("*.png"))
    (world / "late").mkdir()
    (world / "bare" / "gaussian").rename(world / "late" / ".gaussian.partial")
    run(world, "late", options(world, "gaussian"), resume=True)
    run(world, "whole", options(world, "gaussian"))
    assert bytes_below(world / "late") == bytes_below(world / "whole")


def test_shards_merge_to_the_whole_byte_for_byte(world: Path) -> None:
    methods = ("gaussian",)
    run(world, "whole", options(world, *methods))
    shards = [world / f"shard-{number}" for number in range(2)]
    counts = [
        run(world, folder.name, options(world, *methods, shard=Shard(number, 2)))["images"]
        for number, folder in enumerate(shards)
    ]
    assert sum(counts) == 4  # type: ignore[arg-type]
    summary = merge(shards[::-1], world / "merged")
    assert (summary.command, summary.shards, summary.cases, summary.left_out) == ("explain", 2, 4, 0)
    assert bytes_below(world / "merged") == bytes_below(world / "whole")
    (shards[0] / "gaussian").rename(shards[0] / "edges")
    with pytest.raises(InputError, match="edges, gaussian"):
        merge(shards, world / "wrong")


def test_a_killed_run_is_resumed_to_the_same_bytes(world: Path) -> None:
    given(world)
    line = [sys.executable, "-m", "lungct", "explain", "run", "slices/test.json", "--detections", "detections.json"]
    line += ["--method", "scorecam", "--method", "gaussian", "--device", "cpu", "--batch", "1", "--threads", "1"]
    whole = ExplainOptions(
        methods=("scorecam", "gaussian"), detections=world / "detections.json", method=MethodOptions(batch=1), threads=1
    )
    running = subprocess.Popen([*line, "killed"], cwd=world, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(world.glob("killed/.gaussian.partial/*.npz")):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not (world / "killed" / "scorecam").exists()
    first = next(world.glob("killed/.scorecam.partial/1_0.png"))
    before = first.stat().st_mtime_ns
    explain(world / "run", world / "slices" / "test.json", world / "killed", whole, resume=True)
    assert (world / "killed" / "scorecam" / "1_0.png").stat().st_mtime_ns == before, "what was whole is kept"
    explain(world / "run", world / "slices" / "test.json", world / "fresh", whole)
    assert bytes_below(world / "killed") == bytes_below(world / "fresh")
    assert not list(world.rglob(".*partial*"))


def test_keep_going_leaves_out_what_cannot_be_read(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (world / "slices" / "images" / "1.npz").write_bytes(b"not a slice")
    path, maps = given(world), world / "maps"
    line = [
        "explain",
        world / "run",
        world / "slices" / "test.json",
        maps,
        "--detections",
        path,
        "--method",
        "gaussian",
    ]
    assert run_app(command(), [str(one) for one in line]) == 3
    assert not (maps / "gaussian").exists()
    assert run_app(command(), [str(one) for one in (*line, "--keep-going", "--json")]) == 5
    out = capsys.readouterr()
    document = json.loads(out.out.splitlines()[-1])
    assert document["status"] == "partial"
    assert document["failed"][0].startswith("images/1.npz: ")
    assert [record["image_id"] for record in read_manifest(maps / "gaussian")[1:]] == [2, 3, 4]
    assert not list((maps / "gaussian").glob("1*"))


def test_every_image_failing_is_an_error(world: Path) -> None:
    for path in (world / "slices" / "images").iterdir():
        path.write_bytes(b"not a slice")
    with pytest.raises(InputError, match="every image failed"):
        run(world, options=ExplainOptions(methods=("gaussian",), keep_going=True, device="cpu"))


def test_nothing_to_explain_is_said(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["explain", world / "run", world / "slices" / "test.json", world / "maps", "--score-threshold", "1"]
    assert run_app(command(), [str(one) for one in line]) == 0
    assert "nothing to explain" in capsys.readouterr().err
    assert run_app(command(), ["segmentation-game", *map(str, (world / "maps", line[2], world / "game"))]) == 0
    assert "nothing to score" in capsys.readouterr().err


def test_the_game_reads_no_copies_for_the_eye(world: Path) -> None:
    document = json.loads((world / "slices" / "test.json").read_text())
    for image in document["images"]:
        image["lungct"]["patient_id"] = str(image["id"])  # a sheet then has the name that an image's map could have
    (world / "slices" / "test.json").write_text(json.dumps(document))
    run(world, options=options(world, "gaussian"))
    assert (world / "heatmaps" / "contact_sheets" / "1.png").is_file()
    (world / "heatmaps" / "gaussian" / "nifti").mkdir()
    (world / "heatmaps" / "gaussian" / "nifti" / "c1.nii.gz").write_bytes(b"heat of a scan")
    found = map_files(world / "heatmaps", read_truth(world / "slices" / "test.json"))
    assert {image: [one.method for one in maps] for image, maps in found.items()} == {1: ["gaussian"], 2: ["gaussian"]}


def test_flagged_maps_are_counted_and_complained_of() -> None:
    rows = [
        {"flag": "zero", "lost_fraction": 0.9},
        {"flag": "", "lost_fraction": 0.1},
        {"flag": "zero", "lost_fraction": 0.2},
        {"flag": "nan", "lost_fraction": None},
    ]
    found = flagged(rows)
    assert found == {"maps": 4, "flags": {"nan": 1, "zero": 2}, "vanished_share": 0.4, "mostly_vanished": 1}
    line = complaint("scorecam", found)
    assert "3 of 4 maps mean nothing (1 nan, 2 zero)" in line
    assert "for 1 of 4 maps" in line
    assert complaint("scorecam", flagged([{"flag": "", "lost_fraction": None}])) == ""


def test_an_image_too_large_for_the_memory_is_no_bug(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("lungct.explain.job.open_image", exhausted)
    line = ["explain", world / "run", world / "slices" / "test.json", world / "maps", "--detections", given(world)]
    assert run_app(command(), [str(one) for one in line]) == 4
    assert "lungct explain: out of memory: " in capsys.readouterr().err
