"""Runs compared from files and from folders, and pairs that cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lungct.cli import compare as verb
from lungct.cli import evaluate
from lungct.errors import InputError, OutputExists, UsageError
from lungct.evaluation.compare import names_of
from lungct.io.coco import write_detections, write_truth
from lungct.types import Detections

from .random_pairs import three_classes
from .test_slices import spaced

DRAWS = 200


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A truth, detections, the same on one image of four, and the same once more."""
    folder = tmp_path_factory.mktemp("runs")
    truth, found = three_classes(1)
    write_truth(folder / "truth.json", spaced(truth, 0.5, patients=15))
    write_detections(folder / "good.json", found)
    write_detections(folder / "same.json", found)
    worse = [nothing(one) if number % 4 else one for number, one in enumerate(found)]
    write_detections(folder / "worse.json", worse)
    for name in ("good", "worse"):
        evaluate.run(folder / "truth.json", folder / f"{name}.json", folder / name / "evaluation", bootstrap=DRAWS)
    return folder


def nothing(one: Detections) -> Detections:
    return Detections(one.image_id, np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))


def compared(*paths: Path, out: Path, **options: Any) -> dict[str, Any]:
    verb.run(list(paths), out=out, **options)
    document: dict[str, Any] = json.loads((out / "comparison.json").read_text())
    return document


def test_folders(work: Path, tmp_path: Path) -> None:
    document = compared(work / "good/evaluation", work / "worse/evaluation", out=tmp_path / "out")
    assert [run["name"] for run in document["runs"]] == ["good", "worse"]
    tests = {one["measure"]: one for one in document["tests"]}
    assert list(tests) == ["ap@0.5", "ap@0.5:0.95", "froc_mean", "sensitivity@1fp"]
    for one in tests.values():
        assert one["difference"] == pytest.approx(one["value_a"] - one["value_b"])
        assert one["difference"] > 0
        assert one["ci95"][0] < one["difference"] < one["ci95"][1]
        assert one["p"] == one["p_holm"]
    assert tests["ap@0.5:0.95"]["p"] < 0.05
    files = {one.name for one in (tmp_path / "out").iterdir()}
    kinds = {f"{stem}.{kind}" for stem in ("froc", "precision_recall") for kind in ("png", "svg")}
    assert files == {"comparison.json", "comparison.csv", "tables.md", "tables.tex", "manifest.ndjson"} | kinds


def test_files_give_what_their_folders_give(work: Path, tmp_path: Path) -> None:
    files = compared(
        work / "good.json", work / "worse.json", out=tmp_path / "a", truth=work / "truth.json", bootstrap=DRAWS
    )
    folders = compared(work / "good/evaluation", work / "worse/evaluation", out=tmp_path / "b")
    for one, other in zip(files["tests"], folders["tests"], strict=True):
        assert one["p"] == other["p"]
        assert one["ci95"] == pytest.approx(other["ci95"], abs=1e-6), "draws are stored as float32"


def test_several_runs_and_chosen_measures(work: Path, tmp_path: Path) -> None:
    paths = (work / "good.json", work / "worse.json", work / "same.json")
    options = {"truth": work / "truth.json", "bootstrap": DRAWS, "measure": ["ar@0.5", "f1"]}
    document = compared(*paths, out=tmp_path / "out", **options)
    tests = {(one["measure"], one["a"], one["b"]): one for one in document["tests"]}
    assert len(tests) == 6
    same = tests["ar@0.5", "good", "same"]
    assert (same["difference"], same["ci95"], same["p"], same["p_holm"]) == (0, [0, 0], 1, 1)
    assert tests["ar@0.5", "good", "worse"]["p_holm"] > tests["ar@0.5", "good", "worse"]["p"]
    assert "| good | 0." in (tmp_path / "out/tables.md").read_text()


def test_scans(tmp_path: Path) -> None:
    header = "seriesuid,coordX,coordY,coordZ,"
    scans = range(12)
    (tmp_path / "truth.csv").write_text(header + "diameter_mm\n" + "".join(f"s{k},0,0,0,8\n" for k in scans))
    for name, shift in (("hits", 1), ("far", 9)):
        rows = "".join(f"s{k},{shift if k % 2 else 1},0,0,.{k + 10}\n" for k in scans)
        (tmp_path / f"{name}.csv").write_text(header + "probability\n" + rows)
    paths = (tmp_path / "hits.csv", tmp_path / "far.csv")
    document = compared(*paths, out=tmp_path / "out", truth=tmp_path / "truth.csv", bootstrap=DRAWS)
    assert document["kind"] == "scans"
    assert [one["measure"] for one in document["tests"]] == ["froc_mean", "sensitivity@1fp"]
    assert document["tests"][1]["difference"] == 0.5
    assert document["tests"][1]["p"] < 0.05


def refused(error: type[Exception], match: str, runs: list[Path], **more: object) -> None:
    """With and without --dry-run."""
    for dry_run in (True, False):
        with pytest.raises(error, match=match):
            verb.run(runs, dry_run=dry_run, **more)


def test_what_cannot_be_compared(work: Path, tmp_path: Path) -> None:
    good, out = work / "good/evaluation", tmp_path / "out"
    refused(UsageError, "one run cannot be compared", [good], out=out)
    refused(UsageError, "named twice", [good, good], out=out)
    refused(
        UsageError, r"no draws of the measure 'ap@0\.6'", [good, work / "worse/evaluation"], out=out, measure=["ap@0.6"]
    )
    refused(InputError, "no such folder", [good, work / "none"], out=out)
    refused(InputError, "for detections files name their --truth", [work / "good.json", work / "worse.json"], out=out)
    refused(InputError, r"no metrics\.json in it", [good, work], out=out)
    evaluate.run(work / "truth.json", work / "worse.json", tmp_path / "seed", bootstrap=DRAWS, seed=1)
    refused(
        InputError,
        "different draws of patients: evaluate them with the same --seed",
        [good, tmp_path / "seed"],
        out=out,
    )
    evaluate.run(work / "truth.json", work / "worse.json", tmp_path / "hit", bootstrap=DRAWS, iou_hit=0.3)
    refused(
        InputError, "different hits: evaluate them with the same --hit or --iou-hit", [good, tmp_path / "hit"], out=out
    )
    evaluate.run(work / "truth.json", work / "worse.json", tmp_path / "none", bootstrap=0)
    refused(InputError, "no draws of patients", [good, tmp_path / "none"], out=out)
    document = json.loads((work / "truth.json").read_text())
    (tmp_path / "truth.json").write_text(json.dumps(document, indent=1))
    evaluate.run(tmp_path / "truth.json", work / "worse.json", tmp_path / "other", bootstrap=DRAWS)
    refused(InputError, "different truths", [good, tmp_path / "other"], out=out)
    assert not out.exists()
    refused(OutputExists, "made by lungct evaluate", [good, work / "worse/evaluation"], out=good, overwrite=True)


def test_dry_run_names_the_runs(work: Path, tmp_path: Path) -> None:
    result = verb.run([work / "good/evaluation", work / "worse/evaluation"], out=tmp_path / "out", dry_run=True)
    assert result.data == {"runs": ["good", "worse"]}
    assert not (tmp_path / "out").exists()
    files = [work / "good.json", work / "worse.json"]
    assert verb.run(files, truth=work / "truth.json", dry_run=True).data == {"runs": ["good", "worse"]}
    refused(InputError, "none.json", [files[0], work / "none.json"], truth=work / "truth.json")


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (("x/a.json", "x/b.json"), ["a", "b"]),
        (("a/evaluation", "b/evaluation"), ["a", "b"]),
        (("a/run/evaluation", "b/run/evaluation"), ["a", "b"]),
        (("a/x.csv", "a/y.json", "b/x.csv"), ["a/x", "a/y", "b/x"]),
        (("run.v1", "run.v2"), ["run.v1", "run.v2"]),
    ],
)
def test_names(paths: tuple[str, ...], names: list[str]) -> None:
    assert names_of([Path(one) for one in paths]) == names
