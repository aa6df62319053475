"""What turns a detector's score into the share of such detections that are true; a JSON file that a model can carry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lungct.errors import InputError
from lungct.io import atomic
from lungct.registry import CALIBRATIONS
from lungct.types import FloatArray

SCHEMA = "lungct.calibration/1"
FILE_NAME = "calibration.json"
LEAST = 1e-6
"""Scores are kept this far from 0 and 1 before their logit is taken."""


@dataclass(frozen=True)
class Calibration:
    """A map from scores to probabilities that never falls.

    ``temperature``: sigmoid(logit(score) / temperature). ``isotonic``: straight between the points (``scores``,
    ``probabilities``), level outside them; scores may become equal, so it can change AP where a temperature cannot.

    Attributes:
        fitted_on: what it was fitted on and how well, for the record.
    """

    method: str
    temperature: float = 1.0
    scores: tuple[float, ...] = ()
    probabilities: tuple[float, ...] = ()
    fitted_on: Mapping[str, Any] = field(default_factory=dict)

    def apply(self, scores: FloatArray) -> FloatArray:
        """(N,) calibrated scores in 0..1, of the input's float type."""
        if self.method == "temperature":
            calibrated = sigmoid(logit(scores) / self.temperature)
        else:
            calibrated = np.interp(scores, self.scores, self.probabilities)
        return np.asarray(calibrated, dtype=scores.dtype)


def logit(scores: FloatArray) -> FloatArray:
    """(N,) float64 log-odds of scores, which are kept off 0 and 1."""
    kept = np.clip(np.asarray(scores, dtype=np.float64), LEAST, 1 - LEAST)
    odds: FloatArray = np.log(kept / (1 - kept))
    return odds


def sigmoid(values: FloatArray) -> FloatArray:
    """The inverse of :func:`logit`."""
    probability: FloatArray = (1 + np.tanh(values / 2)) / 2  # exp(-values) would overflow
    return probability


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write it as JSON."""
    points = {"scores": list(calibration.scores), "probabilities": list(calibration.probabilities)}
    numbers = points if calibration.method == "isotonic" else {"temperature": calibration.temperature}
    record = {"schema": SCHEMA, "method": calibration.method, **numbers, "fitted_on": dict(calibration.fitted_on)}
    atomic.write_json(path, record, indent=1)


def read_calibration(path: Path) -> Calibration:
    """Read what :func:`write_calibration` wrote.

    Raises:
        InputError: missing, no calibration, an unknown method, or numbers that make no map.
    """
    try:
        record = json.loads(path.read_text("utf-8-sig"))
        method, schema = record["method"], record["schema"]
        temperature = float(record.get("temperature", 1.0))
        scores, probabilities = (tuple(map(float, record.get(name, ()))) for name in ("scores", "probabilities"))
        fitted_on = dict(record.get("fitted_on", {}))
    except FileNotFoundError:
        raise InputError.of(path, "no such file") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise InputError.of(path, f"not a calibration ({type(problem).__name__}: {problem})") from None
    if schema != SCHEMA or method not in CALIBRATIONS:
        raise InputError.of(path, f"{schema!r} by {method!r}", f"expected {SCHEMA} by {' or '.join(CALIBRATIONS)}")
    if method == "temperature" and not 0 < temperature < np.inf:
        raise InputError.of(path, f"temperature is {temperature}, expected a positive number")
    if method == "isotonic" and not _rises(scores, probabilities):
        raise InputError.of(path, "its points do not rise", "expected as many probabilities as scores, neither falling")
    return Calibration(method, temperature, scores, probabilities, fitted_on)


def _rises(scores: tuple[float, ...], probabilities: tuple[float, ...]) -> bool:
    if not scores or len(scores) != len(probabilities):
        return False
    inside = min(probabilities) >= 0 and max(probabilities) <= 1
    return inside and bool((np.diff(scores) > 0).all() and (np.diff(probabilities) >= 0).all())
