"""Calibration against scikit-learn, and its file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binned_statistic_dd
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score

from lungct.errors import InputError
from lungct.evaluation.bootstrap import Draws, draw_patients
from lungct.evaluation.calibration import calibration_part, detection_ece, ece_draws, fit, reliability
from lungct.io.calibration import Calibration, logit, read_calibration, sigmoid, write_calibration


def overconfident(seed: int, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Scores in hundredths, with ties and on the edges of bins, too far from the share of true ones."""
    random = np.random.default_rng(seed)
    score = random.beta(0.7, 0.7, count).round(2)
    return score, random.random(count) < sigmoid(logit(score) / 2.5)


@pytest.mark.parametrize("seed", range(5))
def test_equals_scikit_learn(seed: int) -> None:
    score, true = overconfident(seed)
    part = calibration_part(score, true)
    share, mean = calibration_curve(true, score, n_bins=10)
    filled = np.asarray(part["count"]) > 0
    assert np.asarray(part["share"], float)[filled] == pytest.approx(share, abs=1e-12)
    assert np.asarray(part["score"], float)[filled] == pytest.approx(mean, abs=1e-12)
    weight = np.asarray(part["count"])[filled] / len(score)
    assert part["ece"] == pytest.approx((weight * np.abs(share - mean)).sum(), abs=1e-12)
    assert part["mce"] == pytest.approx(np.abs(share - mean).max(), abs=1e-12)
    assert part["brier"] == pytest.approx(brier_score_loss(true, score), abs=1e-12)
    assert part["auc"] == pytest.approx(roc_auc_score(true, score), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_detection_ece_against_binned_statistics(seed: int) -> None:
    score, true = overconfident(seed)
    score, box = (np.random.default_rng(seed).random((len(score), width)) for width in (1, 4))
    score = score[:, 0]
    edges = [np.linspace(0, 1, 6)] * 5
    # The other program closes its bins on the left; mirrored values fall into the same bins as ours.
    mirrored = 1 - np.c_[score, box]
    gaps = binned_statistic_dd(mirrored, true - score, "sum", bins=edges).statistic
    assert detection_ece(score, true, box) == pytest.approx(np.abs(gaps).sum() / len(score), abs=1e-12)
    assert detection_ece(score, true, box) >= reliability(score, true, 5)["ece"]


def test_temperature_equals_logistic_regression() -> None:
    score, true = overconfident(1, 2000)
    found = fit("temperature", score, true)
    slope = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(logit(score)[:, None], true).coef_[0, 0]
    assert found.temperature == pytest.approx(1 / slope, rel=1e-4)
    assert found.temperature == pytest.approx(2.5, rel=0.15)
    assert found.fitted_on["ece_after"] < found.fitted_on["ece_before"] / 2


def test_isotonic_equals_scikit_learn() -> None:
    score, true = overconfident(2)
    found = fit("isotonic", score, true)
    peer = IsotonicRegression(out_of_bounds="clip").fit(score, true)
    asked = np.linspace(0, 1, 501)
    assert found.apply(asked) == pytest.approx(peer.predict(asked), abs=1e-12)
    assert len(found.scores) < len(np.unique(score))


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
@pytest.mark.parametrize(("score", "true"), [([0.2], [True]), ([0.2, 0.9], [False, True]), ([1.0, 0.0], [True, False])])
def test_few_and_perfect_scores(method: str, score: list[float], true: list[bool]) -> None:
    fitted = fit(method, np.array(score), np.array(true))
    assert np.isfinite(fitted.apply(np.linspace(0, 1, 11))).all()


def test_empty_constant_and_out_of_range() -> None:
    assert calibration_part(np.zeros(0), np.zeros(0, bool)) == {}
    assert calibration_part(np.array([-3.0, 4.0]), np.array([True, False])) == {}
    assert "auc" not in calibration_part(np.array([0.5, 0.7]), np.array([True, True]))


def test_draws_of_ece() -> None:
    score, true = overconfident(3)
    patient = np.arange(len(score)) // 4
    drawn = draw_patients([str(k) for k in range(100)], 200, seed=0)
    once = Draws(np.ones((1, 100), np.uint16), np.arange(100))
    assert ece_draws(score, true, patient, once)[0] == pytest.approx(reliability(score, true)["ece"], abs=1e-12)
    chosen = np.repeat(np.arange(len(score)), drawn.weight[7][patient])
    outright = reliability(score[chosen], true[chosen])["ece"]
    assert ece_draws(score, true, patient, drawn)[7] == pytest.approx(outright, abs=1e-12)


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_file_round_trip(tmp_path: Path, method: str) -> None:
    fitted = fit(method, *overconfident(4))
    write_calibration(tmp_path / "c.json", fitted)
    assert read_calibration(tmp_path / "c.json") == fitted
    scores = np.linspace(0, 1, 7, dtype=np.float32)
    assert fitted.apply(scores).dtype == np.float32
    assert (np.diff(fitted.apply(scores)) >= 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "platt"}, "expected lungct.calibration/1 by temperature or isotonic"),
        ({"schema": "x"}, "'x' by"),
        ({"temperature": 0}, "temperature is 0"),
        ({"temperature": "warm"}, "not a calibration"),
        ({"method": "isotonic", "scores": [0.2, 0.1], "probabilities": [0, 1]}, "do not rise"),
        ({"method": "isotonic", "scores": [0.1, 0.2], "probabilities": [0, 2]}, "do not rise"),
    ],
)
def test_bad_file(tmp_path: Path, change: dict[str, object], message: str) -> None:
    write_calibration(tmp_path / "c.json", Calibration("temperature", 2.0))
    record = json.loads((tmp_path / "c.json").read_text())
    (tmp_path / "c.json").write_text(json.dumps(record | change))
    with pytest.raises(InputError, match=message):
        read_calibration(tmp_path / "c.json")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_calibration(tmp_path / "c.json")
