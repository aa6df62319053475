"""The game's outcome as text: the long CSV and the Markdown table."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from lungct import registry
from lungct.game.play import Row


def scores_csv(rows: Sequence[Row]) -> bytes:
    """``scores.csv``: a line per map and rule; a number that does not exist is left empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = [one.name for one in dataclasses.fields(Row)]
    writer.writerow(names)
    for row in rows:
        writer.writerow(_cell(getattr(row, name)) for name in names)
    return stream.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6f}" if math.isfinite(value) else ""
    return value


def markdown(summary: Mapping[str, Any]) -> str:
    """``table.md``: the rows, the tests and the note."""
    text = [
        f"Segmentation game, {summary['version']} rules: {summary['detections']} true positives of "
        f"{summary['patients']} patients; means over patients, 95 % patient-clustered bootstrap intervals.",
        "",
        "| rule | method | score [95 %] | chance | ceiling | normalised [95 %] | n | failed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in summary["rows"]:
        method = f"{row['method']} (control)" if row["method"] in registry.CONTROLS else row["method"]
        text.append(
            f"| {row['rule']} | {method} | {_shown(row['mean'], row['ci95'])} | {_shown(row['chance'])} | "
            f"{_shown(row['ceiling'])} | {_shown(row['normalised'], row['normalised_ci95'])} | {row['n']} | "
            f"{row['failed']} |"
        )
    if summary["tests"]:
        text += [
            "",
            "Paired Wilcoxon signed-rank tests over patients on normalised scores, Holm within each rule:",
            "",
            "| rule | a | b | a - b | p | p (Holm) | patients |",
            "|---|---|---|---|---|---|---|",
        ]
    for test in summary["tests"]:
        text.append(
            f"| {test['rule']} | {test['a']} | {test['b']} | {_shown(test['difference'])} | {test['p']:.3g} | "
            f"{test['p_holm']:.3g} | {test['patients']} |"
        )
    return "\n".join([*text, "", summary["note"], ""])


def _shown(value: float | None, interval: Sequence[float] | None = None) -> str:
    if value is None:
        return "-"
    low_high = f" [{_digits(interval[0])}, {_digits(interval[1])}]" if interval else ""
    return _digits(value) + low_high


def _digits(value: float) -> str:
    return f"{round(value, 3) + 0.0:.3f}"  # no minus before a zero
