"""Marks on scans from the tables to the folder, with the files that LUNA16 hands out."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lungct.cli import evaluate as verb
from lungct.errors import InputError, OutputExists, UsageError

TRUTH = """seriesuid,coordX,coordY,coordZ,diameter_mm,texture
s1,0,0,0,8,solid
s1,50,0,0,5,subsolid
s2,0,0,0,-1,solid
"""
EXCLUDED = "seriesuid,coordX,coordY,coordZ,diameter_mm\ns3,10,0,0,-1\n"
SUBMISSION = """seriesuid\tcoordX\tcoordY\tcoordZ\tprobability
s1\t1\t0\t0\t.9
s1\t2\t0\t0\t.8
s1\t90\t0\t0\t.7
s2\t4\t0\t0\t.6
s3\t10\t4\t0\t.99
s3\t10\t6\t0\t.3
"""
SCANS = "seriesuid\ns1\ns2\ns3\ns4\n"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Two nodules of three are found; the third scan has an excluded finding, the fourth nothing."""
    texts = {"truth": TRUTH, "detections": SUBMISSION, "excluded": EXCLUDED, "scans": SCANS}
    for name, text in texts.items():
        (tmp_path / f"{name}.csv").write_text(text)
    return {name: tmp_path / f"{name}.csv" for name in texts}


def judged(files: dict[str, Path], out: Path, **options: Any) -> dict[str, Any]:
    verb.run(**files, out=out, **{"bootstrap": 100, **options})
    document: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return document


def test_folder(files: dict[str, Path], tmp_path: Path) -> None:
    metrics = judged(files, tmp_path / "out")
    assert metrics["kind"] == "scans"
    assert [metrics[key] for key in ("scans", "scans_without_nodule", "patients", "nodules")] == [4, 2, 4, 3]
    counts = {"tp": 2, "fp": 2, "fn": 1, "ignored": 1, "duplicates": 1, "marks": 6, "beyond_most": 0, "unlisted": 0}
    assert metrics["counts"] == counts
    third, two_thirds = pytest.approx(1 / 3), pytest.approx(2 / 3)
    assert list(metrics["froc"]["at"].values()) == [third, two_thirds, *[two_thirds] * 5]
    assert metrics["froc"]["cpm"]["grid"] == pytest.approx((1 / 3 + 6 * 2 / 3) / 7)
    assert metrics["froc"]["score_at"]["0.25"] == 0.6
    assert metrics["ci95"]["cpm_grid"] == pytest.approx(metrics["ci95"]["froc_mean"], abs=1e-3)
    low, high = metrics["ci95"]["froc_mean"]
    assert 0 <= low <= metrics["froc"]["mean"] <= high <= 1
    assert len(metrics["froc"]["band"]["low"]) == len(metrics["froc"]["band"]["fp_per_image"])
    assert {"froc.png", "froc.svg", "metrics.csv"} <= {one.name for one in (tmp_path / "out").iterdir()}


def test_every_mark_counts_against_the_listed_scans(files: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "two.csv").write_text("s1\ns2\n")
    few = judged({**files, "scans": tmp_path / "two.csv"}, tmp_path / "few")
    assert few["counts"]["unlisted"] == 2
    assert few["froc"]["fp_per_image"][-1] == 1 / 2
    del files["scans"]
    assert judged(files, tmp_path / "without")["scans"] == 3, "s4 has neither nodule nor mark"


def test_most_marks(files: dict[str, Path], tmp_path: Path) -> None:
    metrics = judged(files, tmp_path / "out", max_detections=1)
    assert metrics["counts"]["beyond_most"] == 3
    assert metrics["counts"]["duplicates"] == 0


def test_criteria_and_what_they_need(files: dict[str, Path], tmp_path: Path) -> None:
    found = {one["hit"]: one["mean"] for one in judged(files, tmp_path / "out")["criteria"]}
    assert found["radius"] > found["3 mm"] > 0
    assert found["IoU 0.5"] is None, "the submission has no size"
    lines = SUBMISSION.splitlines()
    sized = [lines[0] + "\tw\th\td", *(f"{line}\t8\t8\t8" for line in lines[1:])]
    files["detections"].write_text("\n".join(sized))
    found = {one["hit"]: one["mean"] for one in judged(files, tmp_path / "sized")["criteria"]}
    assert found["IoU 0.1"] >= found["IoU 0.5"] > 0


def test_a_stricter_hit_for_everything(files: dict[str, Path], tmp_path: Path) -> None:
    strict = judged(files, tmp_path / "out", hit="3mm")
    assert strict["froc"]["hit"] == "3 mm"
    same = next(one for one in strict["criteria"] if one["hit"] == "3 mm")
    assert (strict["froc"]["mean"], strict["froc"]["at"]) == (same["mean"], same["at"])
    assert (strict["counts"]["tp"], strict["counts"]["fp"]) == (1, 3), "the mark 4 mm off misses now"
    with pytest.raises(UsageError, match=r"a hit by IoU 0.3 needs the size of every mark"):
        judged(files, tmp_path / "boxes", hit="iou0.3")
    with pytest.raises(UsageError, match="is no condition of a hit"):
        judged(files, tmp_path / "typo", hit="3")


def test_breakdown(files: dict[str, Path], tmp_path: Path) -> None:
    metrics = judged(files, tmp_path / "out")
    rows = {(one["attribute"], one["level"]): one for one in metrics["breakdown"]}
    assert set(rows) == {
        ("diameter_mm", "4 to 6"),
        ("diameter_mm", "8 to 15"),
        ("diameter_mm", "unknown"),
        ("texture", "solid"),
        ("texture", "subsolid"),
    }
    solid = rows["texture", "solid"]
    assert [solid[key] for key in ("n", "patients", "sensitivity")] == [2, 2, 1]
    assert solid["sensitivity_ci95"] == [1, 1]
    assert rows["texture", "subsolid"]["sensitivity"] == 0
    with open(tmp_path / "out/metrics.csv") as stream:
        table = {(row["measure"], row["subset"]): row for row in csv.DictReader(stream)}
    assert table["sensitivity", "texture: solid"]["n"] == "2"
    assert float(table["froc_mean", ""]["value"]) == metrics["froc"]["mean"]


def test_patients_are_drawn_whole(files: dict[str, Path], tmp_path: Path) -> None:
    lines = TRUTH.splitlines()
    rows = [lines[0] + ",patient-id", *(f"{line},P1" for line in lines[1:])]
    files["truth"].write_text("\n".join(rows))
    assert judged(files, tmp_path / "out")["patients"] == 3, "s1 and s2 are of one, s3 and s4 of themselves"


def test_calibration_of_marks(files: dict[str, Path], tmp_path: Path) -> None:
    metrics = judged(files, tmp_path / "out", recalibrate="isotonic")
    assert metrics["calibration"]["n"] == 5, "the mark on the excluded finding says nothing"
    assert sum(metrics["calibration"]["count"]) == 5
    again = judged(files, tmp_path / "again", calibration=tmp_path / "out/calibration.json")
    assert again["calibration"]["ece"] < metrics["calibration"]["ece"]
    files["detections"].write_text(SUBMISSION.replace(".99", "12"))
    assert judged(files, tmp_path / "logits")["calibration"] != {}, "the 12 is on the excluded finding"
    files["detections"].write_text(SUBMISSION.replace(".7", "12"))
    assert judged(files, tmp_path / "false")["calibration"] == {}


def test_dry_run(files: dict[str, Path], tmp_path: Path) -> None:
    assert verb.run(**files, out=tmp_path / "out", dry_run=True).data == {"scans": 4, "nodules": 3, "marks": 6}
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="no such file"):
        verb.run(**files, out=tmp_path / "out", dry_run=True, calibration=tmp_path / "none.json")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/other").touch()
    with pytest.raises(OutputExists):
        verb.run(**files, out=tmp_path / "out", dry_run=True)


def test_folders_of_the_stages_before(files: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "found").mkdir()
    (tmp_path / "found/nodules.csv").write_text(SUBMISSION)
    (tmp_path / "found/detections.json").write_text("[]")  # of single slices; predict writes both
    again = judged({**files, "detections": tmp_path / "found"}, tmp_path / "again")
    assert again["froc"]["mean"] == judged(files, tmp_path / "out")["froc"]["mean"]


def test_pairs_that_do_not_go_together(files: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('{"images": [], "annotations": [], "categories": []}')
    with pytest.raises(InputError, match="a table, and the truth is COCO"):
        verb.run(tmp_path / "t.json", files["detections"], tmp_path / "out")
    (tmp_path / "d.json").write_text("[]")
    with pytest.raises(UsageError, match="--excluded and --scans are for tables"):
        verb.run(tmp_path / "t.json", tmp_path / "d.json", tmp_path / "out", scans=files["scans"])
    (tmp_path / "other.csv").write_text("a1\na2\n")
    with pytest.raises(InputError, match="no nodule on the scans to judge"):
        judged({**files, "scans": tmp_path / "other.csv"}, tmp_path / "out")
    files["detections"].write_text(SUBMISSION.replace("\ns", "\nx"))
    with pytest.raises(InputError, match="none of its 6 marks is on a scan of the list"):
        judged(files, tmp_path / "out")


def test_voxel_coordinates_are_suspected(
    files: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files["detections"].write_text(SUBMISSION.replace("\t0\t0\t", "\t300\t300\t"))
    logging.getLogger("lungct").propagate = True
    judged(files, tmp_path / "out")
    assert "no mark lies in a nodule" in caplog.text


def test_coordinates_of_another_frame_are_named(
    files: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files["truth"].write_text(TRUTH.replace("s1,0,0,0", "s1,30,-40,0").replace("s2,0,0,0", "s2,30,-40,0"))
    files["detections"].write_text(SUBMISSION.replace("\t1\t0\t0\t", "\t-30\t41\t0\t"))
    logging.getLogger("lungct").propagate = True
    judged(files, tmp_path / "out")
    assert "no mark lies in a nodule; with x and y negated 1 of 3 are found: are the coordinates RAS?" in caplog.text


@pytest.mark.real
def test_the_true_nodules_as_submission(real_data: Path, tmp_path: Path) -> None:
    """The 1,186 nodules of LUNA16 with the 35,192 excluded findings as marks: everything found, those ignored."""
    folder = real_data / "luna16_csv"
    marks = tmp_path / "marks.csv"
    with open(folder / "annotations.csv") as true, open(folder / "annotations_excluded.csv") as other:
        rows = [
            (*row[:4], score) for score, table in ((0.9, true), (0.5, other)) for row in list(csv.reader(table))[1:]
        ]
    marks.write_text(
        "seriesuid,coordX,coordY,coordZ,probability\n" + "".join(",".join(map(str, r)) + "\n" for r in rows)
    )
    files = {"truth": folder / "annotations.csv", "detections": marks, "excluded": folder / "annotations_excluded.csv"}
    metrics = judged(files, tmp_path / "out", scans=folder / "seriesuids.csv", max_detections=100_000, bootstrap=20)
    assert (metrics["scans"], metrics["nodules"], metrics["counts"]["tp"], metrics["counts"]["fp"]) == (
        888,
        1186,
        1186,
        0,
    )
    assert metrics["counts"]["ignored"] + metrics["counts"]["duplicates"] == pytest.approx(35192, abs=60)
    assert metrics["froc"]["cpm"] == {"grid": 1, "first_reached": 1}
    assert np.isclose(metrics["scans_without_nodule"], 888 - 601)
