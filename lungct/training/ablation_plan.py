"""The plan of an ablation: a TOML file with settings of all runs and a grid of those that differ -> named runs."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lungct.errors import InputError, UsageError
from lungct.io.toml import nearest_key, read_toml
from lungct.registry import TTA
from lungct.training.checks import check_choices, check_kinds
from lungct.training.options import NAMED_WEIGHTS, PRESETS_ALONE, TrainOptions, preset_options

SLICES = "slices"
TABLES: Mapping[str, tuple[str, ...]] = {
    "grid": (),
    "train": (),
    "predict": ("score_threshold", "tta"),
    "evaluate": ("truth", "bootstrap", "seed", "measures"),
}
SHORTENED = {"crop": "crop_px"}
LONGEST_NAME = 100


@dataclass(frozen=True)
class PlannedRun:
    """One run of the grid.

    Attributes:
        name: of its folders; the values that tell it from the others.
        factors: the grid's keys and this run's values.
        slices: the folder it learns from.
        given: training options, as on the command line.
    """

    name: str
    factors: Mapping[str, Any]
    slices: Path
    given: Mapping[str, Any]

    @property
    def options(self) -> TrainOptions:
        """Its options, checked."""
        given = {SHORTENED.get(name, name): value for name, value in self.given.items() if name != "preset"}
        return preset_options(str(self.given.get("preset", "default")), given)


@dataclass(frozen=True)
class AblationPlan:
    """What to run and how to judge it; paths are as seen from the plan's folder.

    Attributes:
        truth: COCO file that all runs are judged on.
    """

    runs: tuple[PlannedRun, ...]
    truth: Path
    score_threshold: float = 0.01
    tta: str = "none"
    bootstrap: int = 1000
    seed: int = 0
    measures: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        check_kinds(self)
        check_choices(self, {"tta": TTA})
        for name, good in {
            "score_threshold (0..1)": 0 <= self.score_threshold <= 1,
            "bootstrap": self.bootstrap >= 0,
        }.items():
            if not good:
                raise UsageError(f"{name} is out of range")
        if any(not isinstance(one, str) for one in self.measures):
            raise UsageError("measures takes a list of names")


def read_plan(path: Path) -> AblationPlan:
    """Read a plan.

    Raises:
        InputError: not TOML, a table or key that is not known, no grid, an empty list in it.
        UsageError: options that cannot be, or runs that cannot be told apart.
    """
    document = read_toml(path)
    known = {one.name for one in dataclasses.fields(TrainOptions)} - {*PRESETS_ALONE} | {*SHORTENED, SLICES}
    for name, table in document.items():
        if name not in TABLES or not isinstance(table, dict):
            raise InputError.of(path, f"unknown table or key '{name}'", nearest_key(name, TABLES))
        for key in table:
            allowed = known if name in ("grid", "train") else set(TABLES[name])
            if key.replace("-", "_") not in allowed:
                raise InputError.of(path, f"[{name}] has an unknown key '{key}'", nearest_key(key, allowed))
    grid, common = (_underscored(document.get(name, {})) for name in ("grid", "train"))
    if not grid:
        raise InputError.of(path, "has no [grid]", 'such as detector = ["faster-rcnn", "retinanet"]')
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise InputError.of(path, f"[grid] {key} is not a list of values")
    runs = _runs(path.parent, grid, common)
    judged = _underscored(document.get("evaluate", {}))
    truth = path.parent / judged.pop("truth") if "truth" in judged else runs[0].slices / "test.json"
    more = {**_underscored(document.get("predict", {})), **judged}
    if "measures" in more:
        if not isinstance(more["measures"], list):
            raise UsageError("measures takes a list of names")
        more["measures"] = tuple(more["measures"])
    return AblationPlan(runs, truth, **more)


def _runs(folder: Path, grid: Mapping[str, Sequence[Any]], common: Mapping[str, Any]) -> tuple[PlannedRun, ...]:
    found = []
    for values in itertools.product(*grid.values()):
        factors = dict(zip(grid, values, strict=True))
        given = {**common, **factors}
        slices = folder / str(given.pop(SLICES, SLICES))
        for name in ("weights", "hard_negatives"):
            value = given.get(name)
            if value and isinstance(value, str) and value not in NAMED_WEIGHTS:
                given[name] = str(folder / value)
        found.append(PlannedRun(_name_of(factors), factors, slices, given))
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two runs of the grid would be called {name}", "give their folders other names")
    for one in found:
        _ = one.options  # refuses what cannot be before the first run begins
    return tuple(found)


def _name_of(factors: Mapping[str, Any]) -> str:
    """Values in the grid's order; of a path its last part, of a number or a switch its key too."""
    parts = []
    for key, value in factors.items():
        plain = isinstance(value, str)
        text = str(value).rstrip("/").rsplit("/", 1)[-1] if plain else f"{key}{value}"
        parts.append(re.sub(r"[^A-Za-z0-9.+-]+", "-", text).strip("-.") or key)
    return "_".join(parts)[:LONGEST_NAME]


def _underscored(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key.replace("-", "_"): value for key, value in table.items()}
