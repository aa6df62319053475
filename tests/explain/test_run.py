"""The explanation run on files: what is written, how it resumes, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lungct.errors import InputError, OutputExists, UsageError
from lungct.explain.base import MethodOptions, Subject
from lungct.explain.budget import seconds_in, within
from lungct.explain.job import Job
from lungct.explain.options import ExplainOptions
from lungct.explain.plan import Rates, measure, plan
from lungct.explain.run import explain
from lungct.io.manifest import read_manifest
from lungct.io.npz import read_heatmaps

OPTIONS = ExplainOptions(methods=("eigencam", "gaussian"), top=2, score_threshold=0.05, amp="off", device="cpu")


def run(world: Path, out: str = "heatmaps", options: ExplainOptions = OPTIONS, **more: bool) -> dict[str, object]:
    return explain(world / "run", world / "slices" / "test.json", world / out, options, **more)


def given(world: Path, score: float = 0.9) -> Path:
    """Detections on the first two true boxes and one beside."""
    boxes = [(1, [18, 26, 8, 8]), (2, [28, 26, 8, 8]), (2, [2, 60, 6, 6])]
    rows = [
        {"image_id": image, "category_id": 1, "bbox": box, "score": score - 0.1 * number}
        for number, (image, box) in enumerate(boxes)
    ]
    path = world / "detections.json"
    path.write_text(json.dumps(rows))
    return path


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_map_and_an_overlay_per_detection(world: Path) -> None:
    summary = run(world)
    manifest = read_manifest(world / "heatmaps" / "eigencam")
    assert [record["image_id"] for record in manifest[1:]] == [1, 2, 3, 4]
    assert summary["detections"] == sum(record["detections"] for record in manifest[1:]) > 0
    for record in manifest[1:]:
        if not record["detections"]:
            assert record["path"] is None
            continue
        maps = read_heatmaps(world / "heatmaps" / "eigencam" / record["path"])
        assert maps.method == "eigencam"
        assert maps.heatmaps.shape == (record["detections"], 72, 64)
        assert maps.layers.split(",")[0].startswith("P")
        assert set(maps.provenance["sign"]) <= {-1, 1}
        for number in range(record["detections"]):
            assert (world / "heatmaps" / "eigencam" / f"{record['image_id']}_{number}.png").is_file()


def test_given_detections_are_matched_and_images_without_any_recorded(world: Path) -> None:
    options = ExplainOptions(methods=("gaussian",), detections=given(world), amp="off")
    summary = run(world, options=options)
    assert (summary["images"], summary["images_without_detections"]) == (4, 2)
    assert (summary["detections"], summary["true_positives"]) == (3, 2)
    maps = read_heatmaps(world / "heatmaps" / "gaussian" / "2.npz")
    assert maps.matched_annotation_id.tolist() == [20, -1]
    assert [record["detections"] for record in read_manifest(world / "heatmaps" / "gaussian")[1:]] == [1, 2, 0, 0]


@pytest.mark.parametrize("scorer", ["roi", "match"])
def test_scorecam_records_what_it_did(world: Path, scorer: str) -> None:
    options = ExplainOptions(
        methods=("scorecam",), detections=given(world), scorer=scorer, amp="off", method=MethodOptions(batch=3)
    )
    run(world, options=options)
    maps = read_heatmaps(world / "heatmaps" / "scorecam" / "2.npz")
    assert len(maps.provenance["lost_fraction"]) == 2
    assert maps.provenance["passes"] >= 2 + 16
    assert maps.provenance["settings"]["scorer"] == scorer
    assert np.isfinite(maps.raw[0]).any()


def test_same_input_same_bytes_and_resume_ends_the_same(world: Path) -> None:
    options = ExplainOptions(methods=("eigencam", "gaussian"), top=1, score_threshold=0.05, max_images=2, amp="off")
    run(world, "first", options)
    run(world, "second", options)
    assert bytes_below(world / "first") == bytes_below(world / "second")
    partial = world / "third" / ".eigencam.partial"
    partial.mkdir(parents=True)
    done = next((world / "first" / "eigencam").glob("*.npz")).stem
    for path in (world / "first" / "eigencam").glob(f"{done}*"):
        (partial / path.name).write_bytes(path.read_bytes())
    (partial / ".9.npz.77.tmp").write_bytes(b"half")
    (partial / "77_0.png").write_bytes(b"of other settings")
    run(world, "third", options, resume=True)
    assert bytes_below(world / "first") == bytes_below(world / "third")


def test_resume_takes_whole_images_only_under_the_same_settings(world: Path) -> None:
    one = ExplainOptions(methods=("uniform",), detections=given(world), amp="off")
    run(world, "a", one)
    partial = world / "b" / ".uniform.partial"
    partial.mkdir(parents=True)
    for path in (world / "a" / "uniform").glob("*_*.png"):
        (partial / path.name).write_bytes(b"kept")
    for path in (world / "a" / "uniform").glob("*.npz"):
        (partial / path.name).write_bytes(path.read_bytes())
    run(world, "b", one, resume=True)
    assert (world / "b" / "uniform" / "1_0.png").read_bytes() == b"kept"
    (world / "c").mkdir()
    (world / "b" / "uniform").rename(world / "c" / ".uniform.partial")
    seeded = ExplainOptions(methods=("uniform",), detections=given(world), amp="off", method=MethodOptions(seed=1))
    run(world, "c", seeded, resume=True)
    assert (world / "c" / "uniform" / "1_0.png").read_bytes() != b"kept"


@pytest.mark.parametrize("name", ["detections.json", "slices/test.json"])
def test_resume_makes_maps_anew_when_detections_or_truth_changed(world: Path, name: str) -> None:
    options = ExplainOptions(methods=("gaussian",), detections=given(world), amp="off")
    run(world, "a", options)
    (world / "b").mkdir()
    (world / "a" / "gaussian").rename(world / "b" / ".gaussian.partial")
    (world / "b" / ".gaussian.partial" / "1_0.png").write_bytes(b"old")
    (world / name).write_text(
        (world / name).read_text().replace("8.0", "7.5").replace("[18, 26, 8, 8]", "[18, 26, 8, 7]")
    )
    run(world, "b", options, resume=True)
    run(world, "fresh", options)
    assert bytes_below(world / "b") == bytes_below(world / "fresh")


def test_given_detections_on_slices_unlike_the_trainings_are_refused(world: Path) -> None:
    path = world / "slices" / "test.json"
    document = json.loads(path.read_text())
    for image in document["images"]:
        image["lungct"]["hu_clip"] = [-500, 500]
    path.write_text(json.dumps(document))
    options = ExplainOptions(methods=("gaussian",), detections=given(world), amp="off")
    with pytest.raises(InputError, match=r"clipped to.*--override"):
        run(world, options=options)
    assert run(world, options=dataclasses.replace(options, override=True))["detections"] == 3


def test_methods_live_side_by_side_and_are_not_overwritten(world: Path) -> None:
    given_ = ExplainOptions(methods=("gaussian",), detections=given(world), amp="off")
    run(world, options=given_)
    run(world, options=ExplainOptions(methods=("edges",), detections=given(world), amp="off"))
    assert {path.name for path in (world / "heatmaps").iterdir()} == {"gaussian", "edges", "contact_sheets"}
    with pytest.raises(OutputExists):
        run(world, options=given_)
    run(world, options=given_, overwrite=True)


def test_images_are_chosen(world: Path) -> None:
    chosen = ExplainOptions(
        methods=("constant",), detections=given(world), amp="off", image_ids=("2", "1"), max_images=1
    )
    assert run(world, options=chosen)["images"] == 1
    assert read_manifest(world / "heatmaps" / "constant")[1]["image_id"] == 2
    with pytest.raises(UsageError, match="77"):
        run(world, options=ExplainOptions(image_ids=("77",)))


def test_dry_run_counts_passes_and_writes_nothing(world: Path) -> None:
    options = ExplainOptions(methods=("scorecam",), detections=given(world), amp="off")
    cost = plan(world / "run", world / "slices" / "test.json", options)
    assert cost["images"] == 4
    assert cost["passes_per_image"] >= 2 + 2 + 16
    assert cost["seconds"] > 0
    assert not (world / "heatmaps").exists()


def test_missing_model_is_an_input_error(world: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        explain(world / "nowhere", world / "slices" / "test.json", world / "heatmaps", OPTIONS)


def test_the_game_needs_no_torch_and_explaining_no_image_reader() -> None:
    game = "import sys, lungct.game.run; assert 'torch' not in sys.modules"
    explaining = (
        "import importlib, sys, lungct.explain.run, lungct.explain.plan, lungct.registry as registry;"
        "[importlib.import_module(one.module) for one in registry.METHODS.values()];"
        "assert not {'SimpleITK', 'nibabel'} & set(sys.modules)"
    )
    for code in (game, explaining):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_a_budget_takes_the_most_masks_that_fit(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At .01 s per pass, D-RISE on four images takes 200 s, of which 80 leave two fifths of the masks."""

    def steady(job: Job) -> tuple[Subject | None, Rates]:
        return measure(job)[0], Rates(0.0, 0.0, 0.01, 0.0)

    monkeypatch.setattr("lungct.explain.budget.measure", steady)
    options = ExplainOptions(methods=("drise",), detections=given(world), amp="off")
    slices = world / "slices" / "test.json"
    assert within(world / "run", slices, options, 201).method.share == 1
    tight = within(world / "run", slices, options, 80).method
    assert tight.share == pytest.approx(0.4, abs=1 / 64)
    assert 1900 < tight.repeats(0, 5000, 500) < 2000
    with pytest.raises(UsageError, match="takes at least 20 s; give more time"):
        within(world / "run", slices, options, 19)


def test_a_resumed_run_keeps_the_share_that_it_began_with(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock never says the same twice, and maps of another share would be made anew."""
    speed = [0.01]
    rates = Rates(0.0, 0.0, speed[0], 0.0)
    monkeypatch.setattr(
        "lungct.explain.budget.measure",
        lambda job: (measure(job)[0], dataclasses.replace(rates, similarity_s=speed[0])),
    )
    options = ExplainOptions(methods=("sscam1", "drise"), detections=given(world), method=MethodOptions(samples=1))
    arguments = (world / "run", world / "slices" / "test.json", options, 80)
    least = within(*arguments)
    run(world, "a", dataclasses.replace(least, methods=("sscam1",)))
    (world / "b").mkdir()
    (world / "a" / "sscam1").rename(world / "b" / ".sscam1.partial")
    speed[0] = 0.02
    assert within(*arguments).method.share < least.method.share
    assert within(*arguments, resumed=world / "b") == least
    assert within(*arguments, resumed=world / "other") == within(*arguments)
    seeded = dataclasses.replace(options, method=MethodOptions(samples=1, seed=1))
    assert within(*arguments[:2], seeded, 80, resumed=world / "b").method.share < least.method.share


@pytest.mark.parametrize(("text", "seconds"), [("60s", 60), ("5m", 300), ("2h", 7200), ("90", 90)])
def test_a_budget_is_a_time(text: str, seconds: float) -> None:
    assert seconds_in(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5s", "0", "nan", "infs"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="a time such as 60s"):
        seconds_in(text)


def test_dry_run_tells_every_method(world: Path) -> None:
    methods = ("odam", "ablationcam", "drise", "occlusion", "gaussian")
    options = ExplainOptions(methods=methods, detections=given(world), amp="off")
    each = plan(world / "run", world / "slices" / "test.json", options)["each"]
    assert each["drise"]["passes"] == 5001
    assert each["odam"] == {"passes": 0, "head_passes": 1, "seconds": each["odam"]["seconds"]}
    assert each["ablationcam"]["head_passes"] > 1
    assert each["gaussian"]["seconds"] == 0
    assert each["drise"]["seconds"] > each["odam"]["seconds"]


def test_a_missed_nodule_is_explained_as_a_proposal(world: Path) -> None:
    options = ExplainOptions(methods=("odam",), detections=given(world), amp="off", outcomes=("fn",))
    summary = run(world, options=options)
    assert summary["detections"] == 1  # two of three nodules are found
    assert summary["true_positives"] == 0
    maps = read_heatmaps(world / "heatmaps" / "odam" / "3.npz")
    assert maps.provenance["kinds"] == ["FN"]
    assert maps.matched_annotation_id.tolist() == [30]
    assert maps.boxes_xyxy_px.tolist() == [[38, 26, 46, 34]]
    assert 0 < maps.scores[0] < 1


def test_one_map_per_image(world: Path) -> None:
    options = ExplainOptions(methods=("odam", "constant"), detections=given(world), amp="off", per="image")
    assert run(world, options=options)["detections"] == 2
    maps = read_heatmaps(world / "heatmaps" / "odam" / "2.npz")
    assert maps.heatmaps.shape == (1, 72, 64)
    assert maps.boxes_xyxy_px.tolist() == [[2, 26, 36, 66]]
    assert maps.provenance["members"] == [[0, 1]]
    assert len(maps.provenance["of_detections"]["zero_gradient"]) == 2
    with pytest.raises(UsageError, match="brings them together"):
        run(world, "other", dataclasses.replace(options, channels=True))
