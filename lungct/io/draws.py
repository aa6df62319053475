"""``draws.npz``: what each measure came to in each draw of patients, so that two evaluations can be compared in pairs.

Two files with the same ``paired_by`` hold the same patients, drawn in the same order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lungct.io.npz import read_arrays, write_arrays
from lungct.types import FloatArray

SCHEMA = "lungct.draws/1"


@dataclass(frozen=True, eq=False)
class DrawnMeasures:
    """``values``: measure -> (B,) its value in each draw, NaN where a draw gives none; ``paired_by`` see above."""

    values: Mapping[str, FloatArray]
    paired_by: str


def pairing(patients: Sequence[str], draws: int, seed: int) -> str:
    """A digest of what the draws depend on: the patient of each image in order, how many draws, the seed."""
    return hashlib.sha256(json.dumps([list(patients), draws, seed]).encode()).hexdigest()


def write_draws(path: Path, drawn: DrawnMeasures) -> None:
    """Write float32 draws, for a file inside a staged folder."""
    measures = {f"measure/{name}": np.asarray(one, dtype=np.float32) for name, one in drawn.values.items()}
    write_arrays(
        path, {"schema": np.array(SCHEMA), "paired_by": np.array(drawn.paired_by), **measures}, compressed=True
    )


def read_draws(path: Path) -> DrawnMeasures:
    """Read what :func:`write_draws` wrote.

    Raises:
        InputError: missing, not an NPZ, or no such file.
    """
    arrays = read_arrays(path, ("schema", "paired_by"))
    values = {name.removeprefix("measure/"): one for name, one in arrays.items() if name.startswith("measure/")}
    return DrawnMeasures(values, str(arrays["paired_by"].item()))
