"""Where a run stands at the end of an epoch: enough to go on as if it had never stopped."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lungct.errors import InputError, UsageError
from lungct.io.checkpoint import load_state, save_state
from lungct.models.ranks import from_first
from lungct.training.learner import Learner

FILE_NAME = "state.pt"
SCHEMA = "lungct.state/1"


@dataclass
class Standing:
    """What changes from epoch to epoch beside weights and optimiser.

    There is no random state in it: each epoch seeds its generators anew from the seed and its number.

    Attributes:
        epoch: epochs done.
        rows: the metrics of each.
        best_ap50, best_ap: of the best validation so far, -1 before the first.
        best_epoch: the last epoch that reached them, 0 before the first.
        waited: validations since they were first reached.
        stopped: the run has met its patience.
    """

    epoch: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)
    best_ap50: float = -1.0
    best_ap: float = -1.0
    best_epoch: int = 0
    waited: int = 0
    stopped: bool = False

    @property
    def scores(self) -> list[float]:
        """AP at IoU .5 of each validation so far."""
        return [row["val_ap50"] for row in self.rows if "val_ap50" in row]


def write(folder: Path, learner: Learner, standing: Standing) -> None:
    """Write the state, last of an epoch's files, in one piece."""
    save_state(
        folder / FILE_NAME,
        {
            "schema": SCHEMA,
            "identity": json.dumps(learner.identity, sort_keys=True),
            "standing": json.dumps(vars(standing)),
            "detector": learner.detector.state_dict(),
            "optimizer": learner.optimizer.state_dict(),
            "scaler": learner.scaler.state_dict(),
            "average": {} if learner.average is None else learner.average.state_dict(),
        },
    )


def read(folder: Path | None, learner: Learner) -> Standing:
    """Put the state of a folder into the learner; a folder without one stands at the start.

    Of several processes the first has the folder, and all stand where it says.

    Raises:
        InputError: a state that is broken or of another schema.
        UsageError: a state of a run with other options or other slices.
    """
    path = (folder or Path()) / FILE_NAME
    state = from_first(load_state(path) if folder is not None and path.is_file() else None)
    if state is None:
        return Standing()
    if state.get("schema") != SCHEMA:
        raise InputError.of(path, f"state of schema {state.get('schema')!r}, expected {SCHEMA!r}")
    _check_same(json.loads(state["identity"]), learner.identity)
    learner.detector.load_state_dict(state["detector"])
    learner.optimizer.load_state_dict(state["optimizer"])
    learner.scaler.load_state_dict(state["scaler"])
    if learner.average is not None:
        learner.average.load_state_dict(state["average"])
    return Standing(**json.loads(state["standing"]))


def _check_same(before: dict[str, Any], now: dict[str, Any]) -> None:
    now = json.loads(json.dumps(now))
    different = [name for name in now if before.get(name) != now[name]]
    if different:
        changed = "; ".join(f"{name} was {before.get(name)}, is {now[name]}" for name in different)
        raise UsageError(f"cannot resume: {changed}", "give the same options and slices, or leave out --resume")
