"""The measures of faithfulness where the right answer is known, and on a network of our own kind."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_grad_cam.metrics.road import NoisyLinearImputer

from lungct import registry
from lungct.explain.base import MethodOptions
from lungct.explain.options import ExplainOptions
from lungct.explain.run import explain
from lungct.game.faithfulness.again import made_again, rank_correlation
from lungct.game.faithfulness.base import Case
from lungct.game.faithfulness.curves import counts_of, curves
from lungct.game.faithfulness.drop import drop
from lungct.game.faithfulness.options import FaithOptions
from lungct.game.faithfulness.road import impute, road
from lungct.game.faithfulness.sanity import STAGES, likeness, randomised, stage_of
from lungct.game.faithfulness.sensitivity import noise_hu
from lungct.game.maps import map_files
from lungct.game.options import GameOptions
from lungct.game.play import Game
from lungct.game.rules.base import load_rules
from lungct.game.run import plan, segmentation_game
from lungct.game.saliency import Saliency
from lungct.game.target import Target
from lungct.inference.detect import detect_slices
from lungct.io.coco import read_truth, write_detections
from lungct.io.npz import read_heatmaps
from lungct.models.load import load_model
from lungct.types import Detections
from tests.explain.conftest import untrained, world
from tests.game.faithfulness_world import BOX, SHAPE, box_pixels, case_of

assert world
game = partial(segmentation_game, figures=False)
IDEAL = box_pixels().astype(np.float32)


def test_a_curve_of_100_pixels_by_hand() -> None:
    """The score is the box's mean, .9: deleting its 100 pixels one by one takes it down a straight line."""
    case = case_of(IDEAL)
    found = curves(case)
    assert found["deletion"] == pytest.approx(0.45, abs=1e-6)
    np.testing.assert_allclose(case.curves["deletion"][:, 1], 0.9 * (1 - np.linspace(0, 1, 101)), atol=1e-6)
    assert len(case.curves["insertion"]) == 101
    assert case.curves["insertion"][-1, 1] == pytest.approx(0.9)
    assert found["insertion-deletion"] == pytest.approx(found["insertion"] - found["deletion"])


def test_a_map_elsewhere_changes_nothing() -> None:
    """All heat in a corner: the score stays under deletion, and under insertion stays that of the blur."""
    found = curves(case_of(box_pixels((0, 30, 10, 40)).astype(np.float32)))
    ideal = curves(case_of(IDEAL))
    assert found["deletion"] == pytest.approx(0.9)
    assert found["insertion"] < ideal["insertion"]
    assert found["insertion-deletion"] < 0 < ideal["insertion-deletion"]


def test_steps_are_shares_of_the_area() -> None:
    assert counts_of(250, 100)[:3].tolist() == [0, 2, 5]
    assert counts_of(250, 100)[-1] == 250
    assert counts_of(9, 100).tolist() == list(range(10))


def test_drop_and_increase_by_hand() -> None:
    half = np.where(box_pixels(), 0.5, 0.0).astype(np.float32)
    half[0, 0] = 1.0
    assert drop(case_of(half)) == {"average-drop": pytest.approx(0.5), "increase": 0.0}
    assert drop(case_of(IDEAL))["average-drop"] == pytest.approx(0, abs=1e-6)
    assert np.isnan(drop(case_of(np.ones(SHAPE, np.float32)))["average-drop"])


@pytest.mark.filterwarnings("ignore:__array_wrap__")
def test_imputation_is_that_of_the_papers_program() -> None:
    """pytorch-grad-cam's port of the authors' imputer, without its noise."""
    random = np.random.default_rng(0)
    image, removed = random.random((2, 14, 17), dtype=np.float32), random.random((14, 17)) < 0.5
    theirs = NoisyLinearImputer(noise=0.0)(torch.tensor(image), torch.tensor(~removed).float())
    np.testing.assert_allclose(impute(image.astype(np.float64), removed), theirs.numpy(), atol=1e-6)


def test_road_guesses_from_the_surroundings() -> None:
    """Without the box and its rim (4 a pixels) all is guessed from black: hardly any score is left."""
    assert road(case_of(IDEAL))["road"] < road(case_of(1 - IDEAL))["road"]
    away = road(case_of(box_pixels((0, 30, 10, 40)).astype(np.float32)))["road"]
    assert road(case_of(IDEAL))["road"] < 0.75 < away


def test_noise_is_estimated() -> None:
    random = np.random.default_rng(0)
    y, x = np.mgrid[:128, :128]
    smooth = -800 + 3.0 * x + 2.0 * y
    assert noise_hu((smooth + random.normal(0, 20, smooth.shape)).astype(np.int16)) == pytest.approx(20, rel=0.1)
    assert noise_hu(np.full((9, 9), -1000, np.int16)) == 1.0


def test_rank_correlation() -> None:
    a = np.random.default_rng(0).random((20, 20))
    assert rank_correlation(a, a**3) == pytest.approx(1)
    assert rank_correlation(a, -a) == pytest.approx(-1)
    assert rank_correlation(a, np.zeros_like(a)) == 0


def test_zeros_in_common_are_no_likeness() -> None:
    random = np.random.default_rng(0)
    a, b, elsewhere = np.zeros((3, 64, 64))
    a[10:30, 10:30], b[10:30, 10:30], elsewhere[40:60, 40:60] = random.random((3, 20, 20))
    assert rank_correlation(a, b) > 0.8
    assert likeness(a, b) < 0.15
    assert likeness(a, a**2) == pytest.approx(1)
    assert likeness(a, elsewhere) == 0
    assert likeness(np.zeros_like(a), np.zeros_like(a)) == 0
    flat = (elsewhere > 0).astype(float)
    assert likeness(flat, flat) == pytest.approx(1)
    assert 0.5 < likeness(flat, np.roll(flat, 3, axis=0)) < 1
    dense, other = random.random((2, 64, 64)) + 0.1
    assert likeness(dense, dense + other) == pytest.approx(rank_correlation(dense, dense + other))


def test_concentration_by_hand() -> None:
    rules = load_rules(registry.MAP_MEASURES)
    target = Target(SHAPE, np.array(BOX), np.array([BOX]))
    pixels = SHAPE[0] * SHAPE[1]
    one = np.zeros(SHAPE, np.float32)
    one[3, 4] = 2
    flat = np.full(SHAPE, 0.3, np.float16)
    assert rules["sparseness"](Saliency(one), target).value == pytest.approx(1 - 1 / pixels)
    assert rules["sparseness"](Saliency(flat), target).value == pytest.approx(0, abs=1e-9)
    assert rules["complexity"](Saliency(one), target).value == pytest.approx(0)
    assert rules["complexity"](Saliency(flat), target).value == pytest.approx(np.log(pixels))
    random = np.random.default_rng(0).random(SHAPE)
    ranked = np.sort(random.ravel())
    by_hand = ((2 * np.arange(1, pixels + 1) - pixels - 1) * ranked).sum() / (pixels * ranked.sum())
    assert rules["sparseness"](Saliency(random), target).value == pytest.approx(by_hand)


@pytest.mark.parametrize("detector", registry.DETECTORS)
def test_every_parameter_is_randomised_in_one_stage(detector: str) -> None:
    from lungct.explain.network import Network

    network = Network(untrained(detector))
    names = [name for name, _ in network.detector.named_parameters()]
    assert {stage_of(name) for name in names} == set(STAGES)
    first = dict(network.detector.named_parameters())
    for cascading in (True, False):
        copies = randomised(network, 0, cascading)
        for place, one in enumerate(copies):
            changed = {
                stage_of(name)
                for name, tensor in one.detector.named_parameters()
                if tensor.numel() > 1 and tensor.std() > 0 and not torch.equal(tensor, first[name])
            }
            assert changed == set(list(STAGES)[0 if cascading else place : place + 1])


@pytest.fixture
def maps(world: Path) -> Path:
    truth = read_truth(world / "slices" / "test.json")
    found = [
        Detections(one.image_id, np.array([one.box_xyxy_px]), np.array([0.9]), np.array([1]))
        for one in truth.annotations
    ]
    write_detections(world / "found.json", found)
    options = ExplainOptions(methods=("eigencam", "edges"), detections=world / "found.json")
    explain(world / "run", world / "slices" / "test.json", world / "heatmaps", options)
    return world


def test_the_whole_game_with_a_model(maps: Path) -> None:
    """Every measure of every map, finite; twice the same; a stage of the model that a method ignores is seen."""
    faith = FaithOptions(maps / "run", steps=4, draws=1)
    options = GameOptions(bootstrap=20, faithfulness=faith, names=("adaptive",))
    summary = segmentation_game(maps / "heatmaps", maps / "slices" / "test.json", maps / "game", options)
    measured = {(row["method"], row["rule"]): row["mean"] for row in summary["rows"] if row["mean"] is not None}
    for method in ("eigencam", "edges"):
        for name in registry.FAITHFULNESS:
            assert (method, name) in measured, (method, name)
    assert measured["edges", "sanity-cascading"] == pytest.approx(1, abs=1e-3)
    assert measured["edges", "sanity-independent"] == pytest.approx(1, abs=1e-3)
    assert measured["eigencam", "sanity-cascading"] < 0.999
    again = segmentation_game(maps / "heatmaps", maps / "slices" / "test.json", maps / "again", options)
    assert again == summary
    assert (maps / "game" / "curves.csv").read_bytes() == (maps / "again" / "curves.csv").read_bytes()
    assert "faithfulness_seconds" in plan(maps / "heatmaps", maps / "slices" / "test.json", options)


def judged_cases(world: Path, options: GameOptions) -> list[Case]:
    """Every case that a game over ``heatmaps/`` would be judged by, with its map."""
    truth = read_truth(world / "slices" / "test.json")
    files = map_files(world / "heatmaps", truth)
    game = Game.of(truth, options, files)
    cases: list[Case] = []

    def keep(case: Case) -> dict[str, float]:
        cases.append(case)
        return {}

    assert game.judge is not None
    game.judge.measures = [keep]
    for image in truth.images:
        if image.id in files:
            game.rows_of(image, files[image.id])
    return cases


@pytest.fixture
def missed(world: Path) -> Path:
    """Every true box is one that the network would draw itself, and ``found.json`` holds no detection at all."""
    path = world / "slices" / "test.json"
    document, truth = json.loads(path.read_text()), read_truth(path)
    found = {one.image_id: one for one in detect_slices(load_model(world / "run"), truth, score_threshold=0.05)}
    for row in document["annotations"]:
        x1, y1, x2, y2 = found[row["image_id"]].boxes_xyxy_px[0].tolist()
        row["bbox"] = [x1, y1, x2 - x1, y2 - y1]
    path.write_text(json.dumps(document))
    (world / "found.json").write_text("[]")
    return world


@pytest.mark.parametrize(
    ("method", "how"),
    [
        ("odam", {"level": "lateral"}),
        ("odam", {"target": "box-w"}),
        ("occlusion", {"method": MethodOptions(patch_mm=12)}),
        ("drise", {"scorer": "match", "method": MethodOptions(masks=20)}),
    ],
)
def test_a_map_is_made_again_as_it_was_made(missed: Path, method: str, how: dict[str, Any]) -> None:
    """On the unchanged slice the map is the same, and a missed nodule has the score that it was explained by."""
    options = ExplainOptions(methods=(method,), detections=missed / "found.json", outcomes=("fn",), **how)
    explain(missed / "run", missed / "slices" / "test.json", missed / "heatmaps", options)
    faith = FaithOptions(missed / "run", names=("max-sensitivity",))
    cases = judged_cases(missed, GameOptions(bootstrap=0, faithfulness=faith, names=("adaptive",)))
    assert cases
    for case in cases:
        again = made_again(case, case.network, case.subject.image_hu, "nothing")
        np.testing.assert_allclose(again, case.heatmap.astype(np.float32), atol=2e-3)
        maps = read_heatmaps(missed / "heatmaps" / method / f"{case.subject.detections.image_id}.npz")
        assert case.score == pytest.approx(float(maps.scores[case.number]), abs=1e-5)


def test_a_map_of_several_detections_is_not_judged(maps: Path) -> None:
    """Its box is drawn around all of theirs, and has no score of its own."""
    options = ExplainOptions(methods=("odam",), detections=maps / "found.json", per="image")
    explain(maps / "run", maps / "slices" / "test.json", maps / "heatmaps", options)
    faith = FaithOptions(maps / "run", names=("deletion", "average-drop"), steps=2)
    wanted = GameOptions(bootstrap=0, faithfulness=faith, names=("adaptive",))
    assert {case.method for case in judged_cases(maps, wanted)} == {
        "eigencam",
        registry.UPPER_BOUND,
        *registry.CONTROLS,
    }
    summary = game(maps / "heatmaps", maps / "slices" / "test.json", maps / "game", wanted)
    rows = [row for row in summary["rows"] if row["method"] == "odam" and row["rule"] in faith.names]
    assert [(row["n"], row["not_defined"]) for row in rows] == [(0, 3), (0, 3)]


def test_noise_beside_the_maps_is_made_again_from_the_games_seed(maps: Path) -> None:
    faith = FaithOptions(maps / "run", names=("max-sensitivity",))
    cases = judged_cases(maps, GameOptions(bootstrap=0, faithfulness=faith, names=("adaptive",), seed=3))
    noise = [case for case in cases if case.method == "uniform"]
    assert noise
    for case in noise:
        again = made_again(case, case.network, case.subject.image_hu, "nothing")
        np.testing.assert_allclose(again, case.heatmap.astype(np.float32), atol=2e-3)


@pytest.mark.slow
def test_the_estimate_is_met(maps: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Within 30 %, in seconds of the processors, which hold whatever else the machine does."""
    options = GameOptions(bootstrap=0, faithfulness=FaithOptions(maps / "run", steps=30), names=("adaptive",))
    arguments = (maps / "heatmaps", maps / "slices" / "test.json")
    told = plan(*arguments, options)["faithfulness_processor_seconds"]
    start = time.process_time()
    game(*arguments, maps / "game", options)
    assert told == pytest.approx(time.process_time() - start, rel=0.3)
    assert "faithfulness will take about" in caplog.text
    assert "of processor time" in caplog.text
    assert json.loads((maps / "game" / "summary.json").read_text())["rows"]


def test_a_case_scores_in_order() -> None:
    case: Case = case_of(IDEAL)
    images = [case.subject.image * share for share in (1.0, 0.5, 0.25)]
    np.testing.assert_allclose(case.scores(images), [0.9, 0.45, 0.225], atol=1e-6)
