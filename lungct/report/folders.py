"""What the stages left in a run folder, read for the report; a part that is not there is None."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lungct import registry
from lungct.errors import InputError
from lungct.io import coco, manifest
from lungct.io.atomic import MANIFEST
from lungct.io.coco import CocoTruth
from lungct.io.weights_header import WEIGHTS, read_card
from lungct.report.contact_sheet import FOLDER as SHEETS
from lungct.types import Detections


@dataclass(frozen=True)
class Places:
    """Where each stage's output lies."""

    slices: Path
    run: Path
    detections: Path
    evaluation: Path
    heatmaps: Path
    game: Path
    comparison: Path

    @classmethod
    def under(cls, folder: Path, **given: Path | None) -> Places:
        """The conventional places in ``folder``, except those that are given.

        Raises:
            InputError: the folder or a given place does not exist.
        """
        if not folder.is_dir():
            raise InputError.of(folder, "no such folder", "name the folder that holds slices/, run/ and so on")
        for place in given.values():
            if place is not None and not place.exists():
                raise InputError.of(place, "no such file or folder")
        conventional = {one.name: folder / one.name for one in fields(cls)}
        conventional["detections"] = folder / "detections.json"
        return cls(**{name: given.get(name) or place for name, place in conventional.items()})

    def found(self) -> dict[str, bool]:
        """Name of each place -> whether something is there."""
        return {one.name: getattr(self, one.name).exists() for one in fields(self)}


@dataclass(frozen=True, eq=False)
class Outputs:
    """Everything that was read.

    Attributes:
        splits: split -> its truth.
        metrics: records of the training's ``metrics.ndjson``.
        card: the model card as JSON values.
        tested: split that the detections are of.
        detections: one entry per image of that split; None also where they are of whole scans.
        evaluation: the evaluation's ``metrics.json``.
        methods: method -> folder of its heatmaps, controls last.
        game: the game's ``summary.json``.
        comparison: the ``comparison.json`` of several runs.
        runs: run records of the manifests, in the order of the chain.
    """

    places: Places
    splits: Mapping[str, CocoTruth] | None
    metrics: list[dict[str, Any]] | None
    card: dict[str, Any] | None
    tested: str
    detections: list[Detections] | None
    evaluation: dict[str, Any] | None
    methods: Mapping[str, Path] | None
    game: dict[str, Any] | None
    comparison: dict[str, Any] | None
    runs: list[dict[str, Any]]


def read_outputs(places: Places) -> Outputs:
    """Read what is there.

    Raises:
        InputError: something is there and cannot be read.
    """
    splits = _splits(places.slices)
    tested, detections = _detections(places.detections, splits)
    metrics = places.run / "metrics.ndjson"
    weights = places.run / WEIGHTS
    methods = _methods(places.heatmaps)
    sources = (places.slices, places.run, places.evaluation, places.comparison, *(methods or {}).values(), places.game)
    return Outputs(
        places=places,
        splits=splits,
        metrics=_json_lines(metrics) if metrics.is_file() else None,
        card=read_card(weights) if weights.is_file() else None,
        tested=tested,
        detections=detections,
        evaluation=_json_object(places.evaluation / "metrics.json"),
        methods=methods,
        game=_json_object(places.game / "summary.json"),
        comparison=_json_object(places.comparison / "comparison.json"),
        runs=[manifest.read_manifest(one)[0] for one in sources if (one / MANIFEST).is_file()],
    )


def _splits(folder: Path) -> dict[str, CocoTruth] | None:
    found = {name: folder / f"{name}.json" for name in registry.SPLITS}
    return {name: coco.read_truth(path) for name, path in found.items() if path.is_file()} or None


def _detections(path: Path, splits: Mapping[str, CocoTruth] | None) -> tuple[str, list[Detections] | None]:
    """The split that most of the detections are of, the test split where none is of any, and the detections on it."""
    if not path.is_file() or splits is None:
        return "", None
    rows = _json(path)
    seen = [row.get("image_id") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    order = [name for name in ("test", "val", "train") if name in splits]
    known = {name: {image.id for image in splits[name].images} for name in order}
    tested = max(order, key=lambda name: sum(one in known[name] for one in seen))
    return tested, coco.read_detections(path, splits[tested])


def _methods(folder: Path) -> dict[str, Path] | None:
    if not folder.is_dir():
        return None
    within = [one.name for one in folder.iterdir() if one.is_dir() and not one.name.startswith(".")]
    found = [name for name in within if name != SHEETS]
    return {name: folder / name for name in sorted(found, key=_rank)} or None


def _rank(method: str) -> tuple[bool, int]:
    known = list(registry.METHODS)
    return method in registry.CONTROLS, known.index(method) if method in known else len(known)


def _json_object(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    document = _json(path)
    if not isinstance(document, dict):
        raise InputError.of(path, "not a JSON object")
    return document


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as problem:
        raise InputError.of(path, f"not readable as JSON ({problem})") from None


def _json_lines(path: Path) -> list[dict[str, Any]]:
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as problem:
        raise InputError.of(path, f"not readable as JSON lines ({problem})") from None
    if not all(isinstance(row, dict) and "epoch" in row for row in rows):
        raise InputError.of(path, "a line is not an object with 'epoch'")
    return rows
